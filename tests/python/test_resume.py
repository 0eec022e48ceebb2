"""--resume: a run that was killed and goes on ends in the same bits as one that was not, on the same ranks; on others
within what they differ by without a checkpoint."""
import json
import os
import shutil
import signal
import subprocess
import time

import pytest
import reference
import reviews
import tiny_models
import torch
from program import binary, metric_lines, metrics, run
from reviews import Review
from safetensors.torch import load_file
from test_ranks import free_port, launched

# Dropout, accumulation, bins of several samples, evaluations that fall between checkpoints, and reports that straddle them.
OPTIONS = ["--max_epochs", 3, "--eval_every", 0.4, "--save_steps", 1, "--save_total_limit", 100, "--logging_steps", 3,
           "--max_length", 256, "--val_ratio", 0.2, "--gradient_accumulation_steps", 2, "--learning_rate", 1e-3,
           "--early_stopping_patience", 0, "--threads", 1]
if torch.cuda.is_available():  # where the same bits are promised
    OPTIONS.append("--deterministic")
KINDS = {
    "full": [],
    "lora": ["--use_lora", "--lora_dropout", 0.2],
    "eight_bit": ["--moments_dtype", "8bit"],
    "in_backward": ["--optimizer_in_backward", "--gradient_accumulation_steps", 1],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    tiny_models.make_text_model(folder / "model", head_dim=16)
    users = {f"影迷{i}": [Review(f"影片{i}{j}", "画面美，音乐好！" * (j + 1 + i % 3), f"2015-0{j + 1}-0{i % 9 + 1}")
                         for j in range(3)] for i in range(12)}
    reviews.write_pipeline_json(folder / "train.json", users)
    return folder


def arguments(folder, output, *options):
    return ["train", "--model", folder / "model", "--data_file", folder / "train.json", "--output_dir", output,
            *OPTIONS, *options]


def whole(folder, output, *options):
    run(*arguments(folder, output, *options))
    return output


def checkpoints(output):
    return sorted((path for path in output.glob("checkpoint-*") if path.name[11:].isdigit()),
                  key=lambda path: int(path.name[11:]))


def kill_after(folder, output, steps, *options):
    """A run that is killed once it has done this many steps; what it leaves may be anything."""
    process = subprocess.Popen([binary(), *map(str, arguments(folder, output, *options))], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while process.poll() is None and not (output / f"checkpoint-{steps}").exists():
        assert time.monotonic() < end
        time.sleep(0.001)
    process.kill()
    process.wait()


def told(output):
    """What metrics.jsonl says, without what is of the machine."""
    clocks = ("seconds", "tokens_per_second", "memory")
    return [{key: value for key, value in line.items() if key not in clocks} for line in metric_lines(output)]


def assert_same_bits(one, other):
    names = sorted(path.name for path in one.iterdir() if path.suffix == ".safetensors")
    assert names == sorted(path.name for path in other.iterdir() if path.suffix == ".safetensors") and names
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert told(one) == told(other)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bits_as_without_a_kill(folder, tmp_path, kind):
    options = KINDS[kind]
    one = whole(folder, tmp_path / "one", *options)
    steps = len(checkpoints(one))
    assert steps >= 6
    other = tmp_path / "other"
    for done in (1, steps // 2, steps - 1):
        kill_after(folder, other, done, *options, "--resume", "auto")
    run(*arguments(folder, other, *options, "--resume", "auto"))
    assert_same_bits(one, other)
    for ours in checkpoints(one):
        theirs = other / ours.name
        for path in ours.rglob("*.safetensors"):
            assert path.read_bytes() == (theirs / path.relative_to(ours)).read_bytes(), path
    before = sorted((path, path.stat().st_mtime_ns) for path in other.rglob("*"))
    done = run(*arguments(folder, other, *options, "--resume", "auto"))
    assert "its result is there" in done.stderr
    assert before == sorted((path, path.stat().st_mtime_ns) for path in other.rglob("*"))


def test_auto_begins_a_run_where_there_is_none(folder, tmp_path):
    run(*arguments(folder, tmp_path / "out", "--resume", "auto", "--max_steps", 2))
    assert (tmp_path / "out" / "model.safetensors").exists()


@pytest.fixture(scope="module")
def saved(folder, tmp_path_factory):
    """A run that was stopped after its third step, and what went on from there."""
    output = tmp_path_factory.mktemp("saved") / "out"
    whole(folder, output)
    return output


def resumed(saved, tmp_path, step):
    """A folder as the run left it after that step."""
    output = tmp_path / "out"
    output.mkdir()
    for name in ("run.json", "metrics.jsonl"):
        shutil.copy(saved / name, output)
    for path in checkpoints(saved):
        if int(path.name[11:]) <= step:
            shutil.copytree(path, output / path.name)
    return output


@pytest.mark.parametrize("change, place", [
    (["--max_length", 300], "--max_length is 256 there and 300 here"),
    (["--seed", 7], "--seed is 42 there and 7 here"),
    (["--use_lora"], "--use_lora is false there and true here"),
    (["--val_ratio", 0.3], "--val_ratio is 0.2 there and 0.3 here"),
])
def test_another_run_is_refused_by_what_differs(folder, saved, tmp_path, change, place):
    output = resumed(saved, tmp_path, 3)
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    done = run(*arguments(folder, output, "--resume", "auto", *change), expect=2)
    line = done.stderr.splitlines()[-1]
    assert place in line and "checkpoint-3" in line and "--resume_anyway" in line
    assert before == {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}


def test_other_data_are_refused_and_taken_with_resume_anyway(folder, saved, tmp_path):
    output = resumed(saved, tmp_path, 3)
    users = {f"影迷{i}": [Review(f"别的影片{j}", "不好看。", f"2015-0{j + 1}-01") for j in range(3)] for i in range(12)}
    reviews.write_pipeline_json(tmp_path / "other.json", users)
    command = ["--data_file", tmp_path / "other.json", "--resume", "auto", "--max_steps", 4]
    assert "the training samples is" in run(*arguments(folder, output, *command), expect=2).stderr.splitlines()[-1]
    done = run(*arguments(folder, output, *command, "--resume_anyway"))
    assert "--resume_anyway: the training samples is" in done.stderr


# A changed byte in the middle of a file, a file cut off, a file gone: the one before is taken.
@pytest.mark.parametrize("file", ["model.safetensors", "state/rank-00000-of-00001.safetensors", "progress.json", "state.json",
                                  "trireme.json"])
@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
def test_a_damaged_checkpoint_is_not_chosen(folder, saved, tmp_path, file, how):
    output = resumed(saved, tmp_path, 3)
    path = output / "checkpoint-3" / file
    content = bytearray(path.read_bytes())
    if how == "changed":
        content[len(content) // 2] ^= 1
    path.write_bytes(content if how == "changed" else content[:len(content) // 2])
    if how == "gone":
        path.unlink()
    if how == "changed" and file == "trireme.json":
        path.write_text("{}")
    done = run(*arguments(folder, output, "--resume", "auto", "--max_steps", 4))
    if path.name != "trireme.json":  # without it the folder is not known as ours, and left alone
        assert "checkpoint-3: " in done.stderr and "not resumed from" in done.stderr
        assert (output / "checkpoint-3.damaged").exists() and (output / "checkpoint-3" / "state.json").exists()
    assert "resuming from " + str(output / "checkpoint-2") in done.stderr


def test_without_verification_only_sizes_are_compared(folder, saved, tmp_path):
    output = resumed(saved, tmp_path, 3)
    path = output / "checkpoint-3" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    # Files of up to 1 MiB are read in any case.
    if len(content) > 1 << 20:
        assert "resuming from " + str(output / "checkpoint-3") in run(
            *arguments(folder, output, "--resume", "auto", "--verify", "false", "--max_steps", 4)).stderr


def test_a_folder_that_is_no_checkpoint_says_what_can_be_done(folder, tmp_path):
    done = run(*arguments(folder, tmp_path / "out", "--resume", folder / "model"), expect=2)
    assert "has no trireme.json of ours: start a run from its weights with --model" in done.stderr.splitlines()[-1]
    done = run(*arguments(folder, tmp_path / "out", "--resume", tmp_path), expect=2)
    assert "give a checkpoint-N of trireme, or auto" in done.stderr.splitlines()[-1]


def test_from_a_folder_elsewhere(folder, saved, tmp_path):
    output = tmp_path / "new"
    done = run(*arguments(folder, output, "--resume", saved / "checkpoint-3"))
    assert "its best weights are not in" in done.stderr
    last = checkpoints(saved)[-1].name
    assert (output / last / "model.safetensors").read_bytes() == (saved / last / "model.safetensors").read_bytes()
    assert not (output / "checkpoint-3").exists()


# torch's names for them; the loss of the last step within 1e-5 of itself, as test_ranks_training has it.
RANKS = {
    "zero1": (2, ["--zero_stage", 1]),
    "zero3": (2, ["--zero_stage", 3]),
    "ulysses": (2, ["--sequence_parallel_size", 2]),
    "ring": (2, ["--sequence_parallel_size", 2, "--sequence_parallel_type", "ring"]),
}


def start(folder, output, ranks, options):
    """Runs on that many ranks; data ranks have the steps of one rank."""
    port = free_port()
    command = [binary(), *map(str, arguments(folder, output, *options))]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **launched(ranks, rank, port)})
                 for rank in range(ranks)]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert all(process.returncode == 0 for process in processes), errors[0][-2000:]


def same_steps(name):
    """Accumulation that gives a step the same sequences."""
    return ["--gradient_accumulation_steps", 1 if name.startswith("zero") else 2]


@pytest.mark.parametrize("name", RANKS)
def test_other_ranks_go_on(folder, saved, tmp_path, name):
    ranks, options = RANKS[name]
    output = resumed(saved, tmp_path, 3)
    start(folder, output, ranks, [*options, *same_steps(name), "--resume", "auto"])
    ours, theirs = metrics(output), metrics(saved)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for line, other in zip(ours, theirs):
        if line["step"] > 6:  # the window that was cut lost what it held
            assert abs(line["loss"] - other["loss"]) <= 1e-5 * other["loss"]
    # And back: one rank goes on from what two have saved.
    again = tmp_path / "again"
    again.mkdir()
    last = checkpoints(output)[-2]
    run(*arguments(folder, again / "out", "--resume", last))
    merged, expected = load_file(again / "out" / "model.safetensors"), load_file(output / checkpoints(output)[-1] / "model.safetensors")
    for key, tensor in expected.items():
        assert torch.linalg.vector_norm(merged[key] - tensor) <= 1e-4 * torch.linalg.vector_norm(tensor), key


def test_a_full_disk_does_not_end_the_run(folder, tmp_path):
    """A folder in the way of checkpoint-2: that one is not saved, the others are."""
    (tmp_path / "out").mkdir()
    stopped = tmp_path / "out" / "checkpoint-2"
    process = subprocess.Popen([binary(), *map(str, arguments(folder, tmp_path / "out", "--max_steps", 4))],
                               stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "out" / "metrics.jsonl").exists():
        time.sleep(0.001)
    stopped.mkdir()
    (stopped / "mine.txt").write_text("mine")
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 0, error
    assert "not saved, 1 of 3 times" in error and (stopped / "mine.txt").read_text() == "mine"
    assert (tmp_path / "out" / "checkpoint-4" / "state.json").exists()


def test_two_ranks_with_lora(folder, tmp_path):
    """Resumed on the same ranks: the same bits, with evaluations between the checkpoints."""
    options = ["--use_lora", "--lora_dropout", 0.1, "--zero_stage", 2, "--max_steps", 6]
    start(folder, tmp_path / "one", 2, options)
    start(folder, tmp_path / "new", 2, [*options, "--resume", tmp_path / "one" / "checkpoint-3"])
    last = "checkpoint-6/adapter_model.safetensors"
    assert (tmp_path / "new" / last).read_bytes() == (tmp_path / "one" / last).read_bytes()


def test_only_the_model(folder, tmp_path):
    whole(folder, tmp_path / "out", "--save_only_model", "--max_steps", 2)
    assert not (tmp_path / "out" / "checkpoint-1" / "state.json").exists()
    reference.load(tmp_path / "out" / "checkpoint-1")


def test_beside_training_or_not_the_files_are_the_same(folder, tmp_path):
    limits = ["--max_steps", 4, "--val_ratio", 0]
    beside = run(*arguments(folder, tmp_path / "beside", *limits))
    waits = run(*arguments(folder, tmp_path / "waits", *limits, "--async_save", "false"))
    assert beside.stderr.count("training waited") == 4 and "checkpoint           on its way" in beside.stderr
    assert "training waited" not in waits.stderr
    for ours in checkpoints(tmp_path / "beside"):
        for path in [*ours.rglob("*.safetensors"), ours / "state.json"]:
            other = tmp_path / "waits" / path.relative_to(tmp_path / "beside")
            assert path.read_bytes() == other.read_bytes(), path
