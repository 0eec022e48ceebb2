"""--deepspeed FILE: what people bring is read unchanged; settings reach the run; each key is done, said to have no
effect here, or refused. tests/data/deepspeed has the files."""
import json
import math
import pathlib
import re
import shutil

import pytest
import reviews
import tiny_models
from program import metrics, run
from reviews import Review

FILES = pathlib.Path(__file__).resolve().parents[1] / "data" / "deepspeed"
USERS = {f"用户{u}": [Review(film, f"{film}很好看，推荐。", f"201{i}-01-0{u + 1}")
                    for i, film in enumerate(["盐湖快车", "机械鲸", "雾港疑云"])] for u in range(2)}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deepspeed")
    tiny_models.make_text_model(folder / "model")
    reviews.write_dmsc_csv(folder / "DMSC.csv", USERS)
    return folder


@pytest.fixture
def place(good, tmp_path):
    shutil.copytree(good, tmp_path / "place")
    return tmp_path / "place"


def train(place, text, *options, expect=0):
    """`text`: of the DeepSpeed JSON, or an object."""
    (place / "ds.json").write_text(text if isinstance(text, str) else json.dumps(text))
    return run("train", "--model", "model", "--data_file", "DMSC.csv", "--output_dir", "out", "--threads", 1,
               "--max_steps", 2, "--deepspeed", "ds.json", *options, cwd=place, expect=expect)


def record(place):
    return json.loads((place / "out" / "run.json").read_text())


def of_the_file(entries):
    """Without what the file leaves out, and DeepSpeed's defaults fill in."""
    return {key: entry for key, entry in entries.items() if not entry["value"].endswith("(DeepSpeed's default)")}


def keys_of(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from keys_of(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def plain(text):
    """The text without comments and trailing commas, for Python's parser."""
    rows = [row.split("#")[0].split("//")[0] for row in text.splitlines()]
    return json.loads(re.sub(r",\s*}", "}", "".join(rows)))


# Files as people bring them.

@pytest.mark.parametrize("name", ["ds_config_zero3_optimized", "llama_factory_z3_offload", "ms_swift_zero2",
                                  "axolotl_zero3_offload_all"])
def test_files_as_people_bring_them(place, name):
    text = (FILES / f"{name}.json").read_text()
    done = train(place, text, "--logging_steps", 1)
    lists = record(place)["deepspeed"]
    assert sorted([*of_the_file(lists["done"]), *of_the_file(lists["no_effect"])]) == sorted(keys_of(plain(text)))
    assert all(entry["how"] for entry in lists["done"].values())
    assert all(entry["why"] for entry in lists["no_effect"].values())
    lines = [line for line in done.stderr.splitlines() if "deepspeed" in line]
    for key, entry in [*lists["done"].items(), *lists["no_effect"].items()]:
        assert any(f"{key} = {entry['value']}" in line for line in lines), key
    assert len(lines) < 30
    assert len(metrics(place / "out")) == 2


def test_what_is_not_built_yet_is_said(place):
    train(place, (FILES / "ds_config_zero3_optimized.json").read_text())
    lists = record(place)["deepspeed"]
    assert "float32" in lists["no_effect"]["communication_data_type"]["why"]
    assert lists["done"]["zero_optimization.stage"] == {
        "value": "3", "how": "one rank holds everything: there is nothing to shard"}


def test_activation_checkpointing_is_done_as_written(place):
    """On the host, eight layer inputs (more than the model has layers: all of them), and the bits of a plain run."""
    done = train(place, (FILES / "ds_config_zero3_optimized.json").read_text(), "--logging_steps", 1)
    written = record(place)
    how = written["deepspeed"]["done"]
    assert how["activation_checkpointing.cpu_checkpointing"] == {"value": "true", "how": "--offload_activations"}
    assert how["activation_checkpointing.number_checkpoints"] == {"value": "8", "how": "--number_checkpoints"}
    assert "always on" in how["activation_checkpointing.contiguous_memory_optimization"]["how"]
    assert written["options"]["offload_activations"] == "all" and written["options"]["number_checkpoints"] == 8
    assert any(row["where"] == "host" and row["bytes"] > 0 for row in written["memory"])
    assert "offloaded" in done.stderr


def test_eight_ranks_are_refused_by_the_key_that_asks_for_them(place):
    done = train(place, (FILES / "ds_config_zero3_ulysses.json").read_text(), expect=2)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("trireme: ds.json:37:5: sequence_parallel.size: 8 does not divide the one rank"), last
    assert "start with 8 ranks" in last and not (place / "out").exists()


# Settings reach the run.

SETTINGS = {
    "train_batch_size": 2, "gradient_accumulation_steps": 2, "gradient_clipping": 1e-3, "steps_per_print": 1,
    "optimizer": {"type": "AdamW", "params": {"lr": 2e-3, "betas": [0.8, 0.95], "eps": 1e-6, "weight_decay": 0.1}},
    "scheduler": {"type": "WarmupDecayLR", "params": {"warmup_min_lr": 0, "warmup_max_lr": "auto",
                                                      "warmup_num_steps": 1, "warmup_type": "linear",
                                                      "total_num_steps": 2}},
    "bf16": {"enabled": False}}
AS_OPTIONS = {
    "batch_size": 1, "gradient_accumulation_steps": 2, "max_grad_norm": 1e-3, "logging_steps": 1,
    "learning_rate": 2e-3, "adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-6, "weight_decay": 0.1,
    "lr_scheduler_type": "linear", "warmup_steps": 1, "dtype": "float32"}
SMALL = ("--packing", "off")


def test_settings_are_the_options_that_they_stand_for(place):
    """And the bits of the result are those of a run with the options."""
    train(place, SETTINGS, *SMALL)
    options = record(place)["options"]
    assert {name: options[name] for name in AS_OPTIONS} == AS_OPTIONS
    assert record(place)["deepspeed"]["no_effect"] == {}
    weights = (place / "out" / "model.safetensors").read_bytes()
    shutil.rmtree(place / "out")
    flags = [text for name, value in AS_OPTIONS.items() for text in (f"--{name}", value)]
    train(place, {}, *SMALL, *flags)
    assert (place / "out" / "model.safetensors").read_bytes() == weights
    shutil.rmtree(place / "out")
    train(place, SETTINGS | {"gradient_clipping": 1e-6}, *SMALL)
    assert (place / "out" / "model.safetensors").read_bytes() != weights


def test_auto_leaves_the_options(place):
    auto = {"gradient_clipping": "auto", "train_batch_size": "auto", "train_micro_batch_size_per_gpu": "auto",
            "gradient_accumulation_steps": "auto", "bf16": {"enabled": "auto"},
            "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto", "weight_decay": "auto"}}}
    train(place, auto, "--max_grad_norm", 0.5, "--gradient_accumulation_steps", 3)
    options = record(place)["options"]
    assert (options["max_grad_norm"], options["gradient_accumulation_steps"]) == (0.5, 3)
    assert (options["learning_rate"], options["adam_beta2"], options["dtype"]) == (1e-5, 0.999, "auto")


def test_equal_values_are_no_mismatch(place):
    train(place, {"gradient_clipping": 0.50, "train_batch_size": 3}, "--max_grad_norm", 0.5, "--batch_size", 3)
    assert record(place)["options"]["gradient_accumulation_steps"] == 1


def test_without_the_flag_run_json_has_no_lists(place):
    run("train", "--model", "model", "--data_file", "DMSC.csv", "--output_dir", "out", "--max_steps", 1, cwd=place)
    assert "deepspeed" not in record(place)


def test_what_sections_leave_out_is_deepspeeds_default(place):
    """A logarithmic warm-up to the optimizer's lr, over 1,000 steps: WarmupLR of DeepSpeed 0.19.8, whose steps are ours
    one later."""
    done = train(place, {"optimizer": {"type": "AdamW", "params": {"lr": 5e-7}}, "scheduler": {"type": "WarmupLR", "params": {}}},
                 "--logging_steps", 1)
    options, lists = record(place)["options"], record(place)["deepspeed"]
    assert (options["learning_rate"], options["warmup_steps"], options["warmup_type"]) == (5e-7, 1000, "log")
    assert lists["done"]["scheduler.params.warmup_num_steps"] == {"value": "1000 (DeepSpeed's default)", "how": "--warmup_steps"}
    assert "scheduler.params.warmup_type = log (DeepSpeed's default)" in done.stderr
    rates = [row["learning_rate"] for row in metrics(place / "out")]
    assert rates == pytest.approx([5e-7 * math.log(step + 1) / math.log(1000) for step in range(2)], rel=1e-6)


def test_dump_reads_the_file_as_far_as_it_has_the_options(place):
    (place / "b.json").write_text('{"documents": [[1, 2, 3]]}')
    (place / "ds.json").write_text('{"gradient_clipping": 0.5, "activation_checkpointing": {"cpu_checkpointing": true}}')
    command = ["dump", "--model", "model", "--batch", "b.json", "--out", "o", "--threads", 1]
    log = run(*command, "--deepspeed", "ds.json", cwd=place).stderr
    assert "deepspeed, done: activation_checkpointing.cpu_checkpointing = true: --offload_activations" in log
    assert "deepspeed, no effect here: gradient_clipping = 0.5: trireme dump has no --max_grad_norm" in log
    (place / "ds.json").write_text('{"sequence_parallel_size": 2}')
    last = run(*command, "--deepspeed", "ds.json", cwd=place, expect=2).stderr.splitlines()[-1]
    assert "ds.json:1:2: sequence_parallel_size: 2 does not divide the one rank" in last
    assert "not an option of trireme dump" in run(*command, "--learning_rate", 1, cwd=place, expect=2).stderr


def test_all_problems_of_a_file_at_once(place):
    done = train(place, '{"gradient_cliping": 1,\n "fp16": {"enabled": true},\n "zero_optimization": {"stage": 4}}', expect=2)
    places = [re.search(r"ds\.json:(\d+:\d+)", line).group(1) for line in done.stderr.splitlines()]
    assert sorted(places) == ["1:2", "2:11", "3:24"] and done.stderr.splitlines()[-1].startswith("trireme: ds.json:")


# Refusals: one line, exit status 2, nothing written.

def refused(place, text, *options):
    done = train(place, text, *options, expect=2)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("trireme: ") and "internal error" not in last and len(last) < 700
    assert not (place / "out").exists()
    return last


@pytest.mark.parametrize("text, says", [
    pytest.param(*row, id=row[1][0].replace(" ", "_")[:40]) for row in [
        ("", ["ds.json: empty"]),
        ("[]", ["ds.json: array where an object is expected"]),
        ("{\n  stage: 3\n}", ["ds.json:2:3: expected a key in double quotes, found 'stage: 3'"]),
        ("train_batch_size: 8\nzero_optimization:\n  stage: 2\n", ["ds.json: YAML, where JSON is expected"]),
        ('{"bf16": {"enabled": true}', ["ds.json:1:27", "the end of the file"]),
        ('{"bf16": {},\n "bf16": {}}', ["ds.json:2:2: the key 'bf16' is given twice"]),
        ('{"zero_optimisation": {"stage": 3}}', ["ds.json:1:2: zero_optimisation", "mean 'zero_optimization'?"]),
        ('{# here\n"zero_optimization": {\n  "overlap_com": true}}',
         ["ds.json:3:3: zero_optimization.overlap_com", "did you mean 'overlap_comm'?"]),
        ('{"overlap_comm": true}', ["ds.json:1:2: overlap_comm", "did you mean 'zero_optimization.overlap_comm'?"]),
        ('{"zero_optimization": {"stage": "3"}}', ['zero_optimization.stage: a whole number is expected, found "3"']),
        ('{"gradient_clipping": true}', ["gradient_clipping: a number is expected, found true"]),
        ('{"fp16": {"enabled": true}, "bf16": {"enabled": true}}', ["ds.json:1:11: fp16.enabled", "bf16.enabled is on"]),
        ('{"fp16": {"enabled": true}}', ["fp16.enabled: float16 training is not built: use bf16"]),
        ('{"train_batch_size": 8, "train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 3}',
         ["ds.json:1:2: train_batch_size is 8", "micro-batch of 2 x 3", "x 1 ranks are 6"]),
        ('{"activation_checkpointing": {"number_checkpoints": 0}}', ["number_checkpoints: 0 is out of range: at least 1"]),
        ('{"zero_optimization": {"offload_optimizer": {"device": "nvme", "nvme_path": "/tmp"}}}',
         ["offload_optimizer.device: nvme", 'write "cpu" or "none"']),
        ('{"optimizer": {"type": "Muon"}}', ["optimizer.type: Muon is not built", "Adam or AdamW"]),
        ('{"scheduler": {"type": "LRRangeTest"}}', ["scheduler.type: LRRangeTest has no counterpart", "WarmupLR"]),
        ('{"sequence_parallel": {"type": "ulises"}}', ["sequence_parallel.type: 'ulises'", "did you mean 'ulysses'?"]),
        ('{"tensor_parallel": {"autotp_size": 4}}', ["tensor_parallel.autotp_size: 4: not built", "write 1"]),
        ('{"communication_data_type": "fp8"}', ["'fp8' is not known: one of fp16, bf16, fp32"]),
    ]])
def test_bad_files(place, text, says):
    last = refused(place, text)
    for part in says:
        assert part in last, last


def test_mismatch_with_the_command_line(place):
    last = refused(place, {"gradient_clipping": 0.5}, "--max_grad_norm", 1)
    assert 'gradient_clipping asks for 0.5, but --max_grad_norm says 1: make them equal, or write "auto"' in last


def test_mismatch_with_the_run_config(place):
    (place / "c.json").write_text('{"training": {\n  "learning_rate": 1e-4}}')
    last = refused(place, {"optimizer": {"type": "AdamW", "params": {"lr": 2e-4}}}, "--config", "c.json")
    assert "ds.json:1:" in last and "asks for 0.0002, but c.json:2:3: training.learning_rate says 0.0001" in last


def test_default_options_are_no_mismatch(place):
    train(place, {"gradient_clipping": 0.5})
    assert record(place)["options"]["max_grad_norm"] == 0.5
