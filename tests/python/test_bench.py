"""`trireme bench`: what it prints of a step on random tokens, on the CPU."""
import json

import pytest
import tiny_models
from program import run

SHAPE = ["bench", "--device", "cpu", "--threads", 1, "--shape", "qwen3-0.6b", "--layers", 1, "--length", 32]
LORA = ["--use_lora", "--lora_r", 4, "--target_modules", "q_proj,down_proj"]


@pytest.mark.parametrize("options", [[], LORA], ids=["full", "lora"])
def test_a_known_shape(options):
    report = json.loads(run(*SHAPE, "--steps", 2, "--documents", 2, "--bound", "true", *options).stdout)
    assert report["train"] == ("lora" if options else "full")
    assert len(report["seconds"]) == len(report["losses"]) == 2
    assert report["tokens_per_second"] == pytest.approx(64 / report["seconds"][1])
    assert 11 < report["losses"][0] < 13  # ln 151,936 is 11.9
    rows = {row["name"]: row["bytes"] for row in report["memory"]["rows"]}
    assert sum(rows.values()) == report["memory"]["planned"]
    assert rows["weights"] == 4 * (151936 * 1024 + 1024 * 2 * 2048 + 1024 * 2 * 1024 + 3 * 1024 * 3072 + 3 * 1024 + 256)
    adapters = 4 * (1024 + 2048 + 3072 + 1024)
    assert rows["gradients"] == 4 * adapters if options else rows["gradients"] == rows["weights"]
    bound = report["bound"]
    assert 0 < bound["fraction_of_kept"] and bound["kept_tokens_per_second"] <= bound["keep_tokens_per_second"]
    assert all(rate > 0 for name, rate in bound["rates"].items() if name != "grouped")


def test_keeping_nothing_holds_less():
    """And loses what is computed again from the bound."""
    reports = [json.loads(run(*SHAPE, "--steps", 1, "--bound", "true", "--keep", keep).stdout) for keep in ("all", "none")]
    kept = [{row["name"]: row["bytes"] for row in report["memory"]["rows"]} for report in reports]
    assert kept[0]["kept intermediates"] > kept[1]["kept intermediates"] == 0
    assert reports[0]["plan"]["layers_that_keep"]["attention"] == 1
    assert set(reports[1]["plan"]["layers_that_keep"].values()) == {0}
    ratio = reports[1]["bound"]
    assert ratio["kept_tokens_per_second"] < ratio["keep_tokens_per_second"]


def test_a_model_folder(tmp_path):
    folder = tiny_models.make("qwen3_moe_norm_topk", tmp_path / "model")
    report = json.loads(run("bench", "--device", "cpu", "--model", folder, "--length", 16, "--steps", 3).stdout)
    assert len(report["losses"]) == 3 and report["model"] == str(folder)


@pytest.mark.parametrize("options, says", [
    (["--shape", "qwen3-8"], "qwen3-8b"), ([], "--shape"), (["--shape", "qwen3-8b", "--model", "x"], "either"),
    (["--shape", "qwen3-0.6b", "--length", 1 << 22, "--device_memory", "16GiB"], "tokens in a batch fit")])
def test_bad_input(options, says):
    done = run("bench", "--device", "cpu", *options, expect=2)
    assert says in done.stderr.splitlines()[-1]
