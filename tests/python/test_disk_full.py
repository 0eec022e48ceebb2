"""A disk that fills up while a run saves: the checkpoints that are there stay whole, and the run ends with one line."""
import os
import resource
import subprocess
import time

import pytest
import reference
import reviews
import tiny_models
from program import binary, metrics, run
from reviews import Review

USERS = {"影迷甲": [Review(f"影片{i}", "画面美！" * (i + 1), f"2015-01-0{i + 1}") for i in range(4)]}
SMALL = 6 << 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("full")
    tiny_models.make_text_model(folder / "model")
    reviews.write_pipeline_json(folder / "train.json", USERS)
    return folder


def arguments(folder, output, *options):
    return ["train", "--model", folder / "model", "--data_file", folder / "train.json", "--output_dir", output,
            "--val_ratio", 0, "--logging_steps", 1, "--threads", 1, "--save_failures_allowed", 0,
            "--async_save", "false", *options]


def assert_ends_well(output, errors, reason, step):
    line = errors.splitlines()[-1]
    assert line.startswith("trireme: ") and reason in line, errors
    assert sum(line.startswith("trireme: ") for line in errors.splitlines()) == 1
    left = [path.name for path in output.iterdir() if path.is_dir()]
    assert left == [f"checkpoint-{step}"]
    reference.load(output / f"checkpoint-{step}")


def test_writing_fails_at_a_later_checkpoint(folder, tmp_path):
    """The limit of a file's size is lowered below the weights' 1 MB once the first checkpoint is there."""
    output = tmp_path / "out"
    command = [binary(), *map(str, arguments(folder, output, "--max_steps", 100000, "--save_steps", 1,
                                             "--save_total_limit", 1))]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 60
        while not list(output.glob("checkpoint-?")):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.01)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (500_000, 500_000))
        errors = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 2
    done = metrics(output)[-1]["step"]
    assert_ends_well(output, errors, "File too large", done - 1)
    assert f"checkpoint-{done}" in errors.splitlines()[-1]


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for a few checkpoints."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", path], capture_output=True).returncode == 0
    if not mounted:
        pytest.skip("mounting is not allowed here")
    yield path
    subprocess.run(["umount", path], check=True)


def sizes(model):
    return [(model / name).stat().st_size for name in ("model.safetensors", "tokenizer.json")]


@pytest.mark.parametrize("room, reason", [("half of the weights", "free space"), ("the weights alone", "disk full")])
def test_a_disk_without_room_for_the_second_checkpoint(folder, small_disk, room, reason):
    """Refused before anything is written where the weights have no room; where it ends behind them, in the middle."""
    weights, tokenizer = sizes(folder / "model")
    wanted = weights // 2 if room.startswith("half") else weights + tokenizer // 2
    free = SMALL - weights - tokenizer
    assert free > wanted
    (small_disk / "other").write_bytes(bytes(free - wanted))
    done = run(*arguments(folder, small_disk / "out", "--max_steps", 2, "--save_steps", 1, "--save_only_model"),
               expect=2)
    assert_ends_well(small_disk / "out", done.stderr, reason, 1)
