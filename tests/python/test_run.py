"""What a training run leaves behind and when it stops: output folder, checkpoints, evaluations, signals, the command
line that users have."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import reference
import reviews
import tiny_models
from program import binary, dump, evaluations, metric_lines, metrics, run, train
from reviews import Review
from transformers import AutoTokenizer

FILMS = ["盐湖快车", "机械鲸", "雾港疑云", "南方来信", "铁皮屋顶"]
USERS = {f"用户{u}": [Review(film, f"{film}{'很好看，' * (u + i)}推荐。", f"201{i}-01-0{u + 1}")
                    for i, film in enumerate(FILMS)] for u in range(4)}
# 16 training samples and 4 validation samples; 8 steps an epoch.
EIGHT_STEPS = ("--val_ratio", 0.2, "--packing", "off", "--batch_size", 2, "--logging_steps", 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def data(folder):
    return reviews.write_pipeline_json(folder / "train.json", USERS)


@pytest.fixture(scope="module")
def model(folder):
    return tiny_models.make_text_model(folder / "model")


def files_under(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def weights_of(path):
    return (path / "model.safetensors").read_bytes()


def names_in(path):
    return sorted(entry.name for entry in path.iterdir())


# The output folder.

STATE_FILES = ["progress.json", "state", "state.json"]
MODEL_FILES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "trireme.json"]


@pytest.fixture(scope="module")
def finished(folder, model, data):
    train(model, data, folder / "finished", *EIGHT_STEPS, "--max_epochs", 1, "--save_steps", 3, "--save_total_limit", 2,
          "--learning_rate", 1e-3, "--warmup_steps", 2, "--wandb_project", "Qwen3_30B-DMSC")
    return folder / "finished"


def test_the_output_folder_holds_these_files(model, finished):
    """generation_config.json where the model has one."""
    expected = MODEL_FILES + ["generation_config.json"] * (model / "generation_config.json").exists()
    assert names_in(finished) == sorted(expected + ["checkpoint-3", "checkpoint-6", "metrics.jsonl", "run.json"])
    assert names_in(finished / "checkpoint-6") == sorted(expected + STATE_FILES)


@pytest.mark.parametrize("name", ["", "checkpoint-3", "checkpoint-6"])
def test_each_saved_folder_loads_in_transformers(tmp_path, finished, name):
    """Its logits there are those that trireme computes; 1e-4 as in test_parity.py."""
    tokenizer = AutoTokenizer.from_pretrained(finished / name)
    ids = tokenizer("用户: 影迷\n\n模仿用户风格为电影《机械鲸》写一条影评：").input_ids
    assert ids == reviews.plain_ids("用户: 影迷\n\n模仿用户风格为电影《机械鲸》写一条影评：")
    ours = dump(finished / name, [ids], [ids], tmp_path, grads=False)
    theirs = reference.forward_backward(reference.load(finished / name), [ids], [ids])
    assert (ours.logits - theirs.logits).abs().max() <= 1e-4
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(tiny_models.SAMPLE / "tokenizer").chat_template


def test_config_and_tokenizer_files_are_those_of_the_model(model, finished):
    assert json.loads((finished / "config.json").read_text()) == json.loads((model / "config.json").read_text())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (finished / name).read_bytes() == (model / name).read_bytes()


def test_another_tokenizer_folder_and_chat_template_go_into_the_output(tmp_path, data):
    bare = tiny_models.save(tiny_models.build(tiny_models.text_model_config()), tmp_path / "bare")
    train(bare, data, tmp_path / "out", *EIGHT_STEPS, "--max_steps", 1, "--tokenizer", tiny_models.SAMPLE / "tokenizer",
          "--chat_template", "none")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.apply_chat_template([{"role": "user", "content": " a"}, {"role": "user", "content": "b\n"}],
                                         tokenize=False) == " ab\n"


def test_run_json_has_every_option_as_it_was_used(model, finished):
    record = json.loads((finished / "run.json").read_text())
    version, commit = re.match(r"trireme (\S+) \(commit (\w+)", run("--version").stdout).groups()
    assert record["trireme"] == {"version": version, "commit": commit}
    flags = re.findall(r"^  --(\w+)", run("train", "--help").stdout, flags=re.MULTILINE)
    assert len(flags) > 50 and set(record["options"]) >= set(flags)
    used = {"model": str(model), "max_epochs": 1, "save_steps": 3, "learning_rate": 1e-3, "packing": False,
            "val_ratio": 0.2, "wandb_project": "Qwen3_30B-DMSC", "max_length": 2048, "seed": 42, "overwrite": False}
    assert {name: record["options"][name] for name in used} == used
    assert record["samples"] == {"train": 16, "validation": 4}
    parameters = sum(weight.numel() for weight in reference.load(model).parameters())
    assert parameters <= record["model"]["parameters"] <= 1.01 * parameters  # a little padding may be counted


def test_metrics_lines(finished):
    steps, evals = metrics(finished), evaluations(finished)
    assert len(metric_lines(finished)) == len(steps) + len(evals)
    assert [line["step"] for line in steps] == list(range(1, 9))
    assert [line["epoch"] for line in steps] == pytest.approx([i / 8 for i in range(1, 9)])
    assert all(line["tokens"] > 0 and line["seconds"] > 0 and line["memory"] > 1 << 20 for line in steps)
    # One epoch of 8 steps is what the schedule was laid over.
    assert [line["learning_rate"] for line in steps] == pytest.approx(
        reference.learning_rates("cosine", 1e-3, 2, 8), rel=1e-12, abs=1e-20)


def test_loss_lines_are_means_over_the_steps_between_them(tmp_path, model, data, finished):
    """Sums over tokens, so that the mean over an epoch lies between the steps' and follows their token counts."""
    train(model, data, tmp_path / "out", *EIGHT_STEPS, "--max_epochs", 1, "--learning_rate", 1e-3, "--warmup_steps", 2,
          "--logging_steps", 8)
    line, = metrics(tmp_path / "out")
    steps = [step["loss"] for step in metrics(finished)]
    assert min(steps) < line["loss"] < max(steps)
    assert line["tokens"] == sum(step["tokens"] for step in metrics(finished))


# Checkpoints.

@pytest.mark.parametrize("steps, every, limit, left", [
    (7, 2, 2, [4, 6]), (7, 2, 9, [2, 4, 6]), (5, 1, 1, [5]), (3, 0, 3, []), (3, 4, 3, [])])
def test_the_last_checkpoints_are_left(tmp_path, model, data, steps, every, limit, left):
    train(model, data, tmp_path / "out", *EIGHT_STEPS, "--max_steps", steps, "--save_steps", every,
          "--save_total_limit", limit)
    found = [name for name in names_in(tmp_path / "out") if name.startswith(("checkpoint", "best"))]
    assert found == [f"checkpoint-{step}" for step in left]
    for step in left:
        reference.load(tmp_path / "out" / f"checkpoint-{step}")


def test_a_checkpoint_is_the_model_after_that_step(tmp_path, model, data):
    """A run that ends there, without samples to validate on, has the same result."""
    options = ("--val_ratio", 0, "--lr_scheduler_type", "constant", "--learning_rate", 1e-3)
    train(model, data, tmp_path / "long", *options, "--max_steps", 4, "--save_steps", 2)
    train(model, data, tmp_path / "short", *options, "--max_steps", 2)
    assert weights_of(tmp_path / "long" / "checkpoint-2") == weights_of(tmp_path / "short")
    assert weights_of(tmp_path / "long" / "checkpoint-4") == weights_of(tmp_path / "long")
    assert weights_of(tmp_path / "long") != weights_of(tmp_path / "short")


# Evaluations: the best one's weights are the result, and too many worse ones end the run.

@pytest.mark.parametrize("batch, expected", [
    (2, [0, 4, 8, 12, 16]),       # 8 steps an epoch
    (4, [0, 2, 4, 6, 8]),         # 4 steps
    (5, [0, 2, 4, 6, 8]),         # 16 samples by 5: 4 steps, the last of one sample
    (6, [0, 2, 3, 5, 6]),         # 3 steps: an evaluation when the half is passed, and at the end
    (16, [0, 1, 2])])             # 1 step
def test_evaluation_every_half_epoch(tmp_path, model, data, batch, expected):
    train(model, data, tmp_path / "out", *EIGHT_STEPS, "--batch_size", batch, "--max_epochs", 2)
    assert [line["step"] for line in evaluations(tmp_path / "out")] == expected


@pytest.mark.parametrize("every, steps, expected", [
    (0.25, 8, [0, 2, 4, 6, 8]), (1, 20, [0, 8, 16, 20]), (3, 5, [0, 5])])
def test_evaluation_at_other_intervals_and_at_the_end(tmp_path, model, data, every, steps, expected):
    train(model, data, tmp_path / "out", *EIGHT_STEPS, "--max_steps", steps, "--eval_every", every)
    assert [line["step"] for line in evaluations(tmp_path / "out")] == expected


RISING = (*EIGHT_STEPS, "--lr_scheduler_type", "constant", "--learning_rate", 2e-2, "--max_grad_norm", 0,
          "--save_steps", 4, "--save_total_limit", 100)


@pytest.fixture(scope="module")
def rising(folder, model, data):
    """A learning rate at which the validation loss falls and rises again."""
    train(model, data, folder / "rising", *RISING, "--max_epochs", 6, "--early_stopping_patience", 0)
    losses = [line["eval_loss"] for line in evaluations(folder / "rising")][1:]
    assert min(losses) < losses[0] and losses[-1] > min(losses) + 0.1, losses
    return folder / "rising"


def test_the_best_evaluation_is_kept(rising):
    evals = evaluations(rising)[1:]
    best = min(evals, key=lambda line: line["eval_loss"])
    assert weights_of(rising) == weights_of(rising / f"checkpoint-{best['step']}")
    assert weights_of(rising) != weights_of(rising / f"checkpoint-{evals[-1]['step']}")
    lowest = float("inf")
    for line in evals:
        assert line["best"] == (line["eval_loss"] < lowest)
        lowest = min(lowest, line["eval_loss"])


def stopping_step(evals, patience, threshold):
    """By transformers' EarlyStoppingCallback: worse than the best, or better by less than the threshold, counts."""
    best, count = float("inf"), 0
    for line in evals:
        count = 0 if line["eval_loss"] < best - threshold else count + 1
        best = min(best, line["eval_loss"])
        if count >= patience:
            return line["step"]
    return None


@pytest.mark.parametrize("patience, threshold", [(1, 0), (2, 0), (3, 0.001), (2, 100)])
def test_early_stopping(tmp_path, model, data, rising, patience, threshold):
    expected = stopping_step(evaluations(rising)[1:], patience, threshold)
    assert expected is not None and expected < metrics(rising)[-1]["step"]
    done = train(model, data, tmp_path / "out", *RISING, "--max_epochs", 6, "--early_stopping_patience", patience,
                 "--early_stopping_threshold", threshold)
    assert metrics(tmp_path / "out")[-1]["step"] == expected
    assert evaluations(tmp_path / "out")[-1]["step"] == expected
    assert "stopping early" in done.stderr
    # The checkpoint that is due at that step is there.
    assert (tmp_path / "out" / f"checkpoint-{expected}").is_dir() == (expected % 4 == 0)
    best = min(evaluations(tmp_path / "out")[1:], key=lambda line: line["eval_loss"])
    assert weights_of(tmp_path / "out") == weights_of(rising / f"checkpoint-{best['step']}")


# --overwrite.

def test_overwrite_replaces_the_earlier_run_and_nothing_else(tmp_path, model, data):
    out = tmp_path / "out"
    train(model, data, out, *EIGHT_STEPS, "--max_steps", 4, "--save_steps", 2)
    (out / "notes.txt").write_text("mine")
    (out / "checkpoint-2.tmp").mkdir()
    earlier = files_under(out)
    refused = train(model, data, out, *EIGHT_STEPS, "--max_steps", 3, expect=2)
    assert "--overwrite" in refused.stderr.splitlines()[-1]
    assert files_under(out) == earlier
    train(model, data, out, *EIGHT_STEPS, "--max_steps", 3, "--save_steps", 3, "--overwrite")
    # A name alone does not make a folder ours.
    assert [name for name in names_in(out) if name.startswith("checkpoint")] == ["checkpoint-2.tmp", "checkpoint-3"]
    assert (out / "notes.txt").read_text() == "mine" and (out / "checkpoint-2.tmp").is_dir()
    assert metrics(out)[-1]["step"] == 3
    assert weights_of(out) != earlier["model.safetensors"]


# Signals.

def wait_for(condition, process, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_checkpoint(tmp_path, model, data, number):
    out = tmp_path / "out"
    process = subprocess.Popen(
        [binary(), "train", "--model", model, "--data_file", data, "--output_dir", out, *map(str, EIGHT_STEPS),
         "--max_steps", "1000000", "--early_stopping_patience", "0", "--threads", "1"],
        stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: (out / "metrics.jsonl").exists() and len(metrics(out)) >= 3, process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + number
    last = metrics(out)[-1]["step"]
    saved = out / f"checkpoint-{last}"
    assert str(saved) in errors.splitlines()[-2:][0] + errors.splitlines()[-1]
    reference.load(saved)
    AutoTokenizer.from_pretrained(saved)
    assert weights_of(saved) != weights_of(model)
    assert not [path for path in out.rglob("*") if "trireme-" in path.name or path.name == ".trireme.lock"]
    assert not (out / "config.json").exists()  # no result that looks finished


# The users' command line.

RUN_CONFIG = """{
  // pasted from the wiki
  "model": {
    "name": "Qwen3-30B-A3B-Instruct-2507",
    "path": "%(model)s",
    "hf_model_name": "Qwen/Qwen3-30B-A3B-Instruct-2507",
    "checkpoint_dir": "/mnt/parallel/checkpoints"
  },
  "data": {"train_path": "%(data)s", "test_path": "/mnt/parallel/DMSC/test.json"},
  "training": {
    "batch_size": 1, "eval_batch_size": 1, "gradient_accumulation_steps": 2,
    "learning_rate": 1e-05, "weight_decay": 0.1, "warmup_steps": 100,
    "max_length": 16384, "max_context_turns": 15, // as in the 30B runs
    "logging_steps": 10, "save_steps": 500, "save_total_limit": 3
  },
  "ablation_configs": {%(ablations)s}
}
"""
DEEPSPEED = pathlib.Path(__file__).resolve().parents[1] / "data" / "deepspeed" / "ds_config_zero3_optimized.json"


@pytest.fixture
def users_folder(tmp_path, model, data):
    """The two files beside each other, as the command line names them."""
    ablations = ", ".join(
        f'"{name}": {{"use_profile": {json.dumps(profile)}, "use_history": {json.dumps(history)}, '
        f'"use_context": {json.dumps(context)}, "name": "{name}"}}'
        for name, (profile, history, context) in reviews.ABLATIONS.items() if name != "baseline")
    (tmp_path / "config_DMSC_30B.json").write_text(RUN_CONFIG % {"model": model, "data": data, "ablations": ablations})
    shutil.copy(DEEPSPEED, tmp_path)
    return tmp_path


COMMAND = ("train --config config_DMSC_30B.json --deepspeed ds_config_zero3_optimized.json "
           "--ablation_config profile_and_context --output_dir outputs/DMSC_4k_test --max_epochs 1 --val_ratio 0.1 "
           "--wandb_project Qwen3_30B-DMSC --wandb_run_name 4k_length_test --prompt_style simple "
           "--max_samples_per_user 5").split()
ONE_RANK = {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": "29502"}


def test_the_command_line_of_the_users(users_folder):
    run(*COMMAND, cwd=users_folder, env={**os.environ, **ONE_RANK})
    output = users_folder / "outputs" / "DMSC_4k_test"
    reference.load(output)
    options = json.loads((output / "run.json").read_text())["options"]
    expected = {"learning_rate": 1e-5, "weight_decay": 0.1, "warmup_steps": 100, "max_length": 16384,
                "gradient_accumulation_steps": 2, "max_epochs": 1, "val_ratio": 0.1, "wandb_run_name": "4k_length_test",
                "prompt_style": "simple", "max_samples_per_user": 5, "deepspeed": "ds_config_zero3_optimized.json"}
    assert {name: options[name] for name in expected} == expected
    assert options["ablation"] == {"name": "profile_and_context", "use_profile": True, "use_history": False,
                                   "use_context": True}


def test_torchrun_starts_the_old_scripts_name(users_folder):
    script = pathlib.Path(__file__).resolve().parents[2] / "train_distributed_MovieReview.py"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=1", "--master_port=29502"]
    done = subprocess.run([*launcher, script, *COMMAND[1:], "--max_steps", "1"], cwd=users_folder, text=True,
                          capture_output=True, env={**os.environ, "TRIREME": binary()}, timeout=300)
    assert done.returncode == 0, done.stderr
    reference.load(users_folder / "outputs" / "DMSC_4k_test")


def test_the_other_flags_of_the_old_script(users_folder, data):
    run(*COMMAND, "--data_file", data, "--one_sample_per_user", "--sample_seed", 7, "--early_stopping_patience", 3,
        "--early_stopping_threshold", 0.001, "--disable_flash_attn", "--local_rank=0", "--prompt_style=detailed",
        "--ablation_config=baseline", "--max_length", 512, cwd=users_folder, env={**os.environ, **ONE_RANK})
    record = json.loads((users_folder / "outputs" / "DMSC_4k_test" / "run.json").read_text())
    options = record["options"]
    assert options["one_sample_per_user"] and options["disable_flash_attn"] and options["local_rank"] == 0
    assert options["prompt_style"] == "detailed" and options["max_length"] == 512
    assert sum(record["samples"].values()) == len(USERS)


@pytest.mark.parametrize("ablation", reviews.ABLATIONS)
def test_every_ablation_trains(users_folder, ablation):
    run(*COMMAND, "--ablation_config", ablation, "--max_steps", 1, cwd=users_folder)
    assert metrics(users_folder / "outputs" / "DMSC_4k_test")[-1]["step"] == 1
