"""Memory as a run says it: planned beside measured by phase, and what happens when there is not enough, on the CPU."""
import json
import re
import resource

import pytest
import reviews
import tiny_models
from program import run, train

MIB = 1 << 20


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.make_text_model(tmp_path_factory.mktemp("model") / "qwen3")


def test_the_report_after_the_first_step_and_at_the_end(model, tmp_path):
    log = train(model, reviews.SAMPLE_CSV, tmp_path / "out", "--max_steps", 2, "--memory_report", "true").stderr
    assert log.count("its peak by phase") == 2
    for phase in ("load", "forward", "head and loss", "backward", "optimizer"):
        assert re.search(rf"^  {phase} +[0-9.]+ [KMG]iB host$", log, re.M), phase
    assert "gradients" in log.split("its peak by phase")[0]


def test_bench_has_the_peaks_of_its_phases(model):
    report = json.loads(run("bench", "--device", "cpu", "--model", model, "--length", 64, "--steps", 1).stdout)
    peaks = {peak["phase"]: peak["host"] for peak in report["memory"]["phases"]}
    assert set(peaks) == {"load", "forward", "head and loss", "backward", "optimizer"}
    assert 0 < max(peaks.values()) <= report["memory"]["peak"] == report["memory"]["host_peak"]


def limited(mib):
    """For subprocess: the process may have `mib` MiB of its own data."""
    return lambda: resource.setrlimit(resource.RLIMIT_DATA, (mib * MIB, mib * MIB))


@pytest.mark.parametrize("mib, where", [(900, "load"), (3300, "forward, layer 0|head and loss|backward, layer 0")])
def test_out_of_memory_is_one_line_that_says_where_and_what_fits(mib, where):
    """A limit that the plan does not know: the system's own answer to an allocation."""
    shape = ["--shape", "qwen3-0.6b", "--layers", 1, "--length", 4096, "--device", "cpu", "--threads", 1]
    done = run("bench", *shape, "--steps", 1, expect=2, preexec_fn=limited(mib))
    assert "its peak by phase" in done.stderr  # the table first
    line = done.stderr.splitlines()[-1]
    assert re.match(rf"trireme: out of memory on the host in (step 1, )?({where}): [0-9.]+ [KMG]iB more was asked for beside", line), line
    assert "tokens in a batch fit" in line or "--device_memory" in line or "no length fits" in line


def test_out_of_memory_of_dump(tmp_path, model):
    """Logits of a long document; the limit leaves room for the program and the weights."""
    batch = tmp_path / "batch.json"
    batch.write_text(json.dumps({"documents": [[1] * 60000], "labels": [[1] * 60000]}))
    done = run("dump", "--model", model, "--batch", batch, "--out", tmp_path / "out.safetensors", "--logits",
               "--device", "cpu", "--threads", 1, expect=2, preexec_fn=limited(900))
    assert re.match(r"trireme: out of memory on the host in \w", done.stderr.splitlines()[-1]), done.stderr[-500:]
    assert not (tmp_path / "out.safetensors").exists()
