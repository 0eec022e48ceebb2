"""Signals, readers that go away, and the exit status: docs/reliability.md has the table."""
import signal
import subprocess
import time

import pytest
import reference
import reviews
import tiny_models
from program import ROOT, binary, metric_lines, metrics, run
from reviews import Review
from test_ranks import free_port, launched

DATA, TOKENIZER = ROOT / "sample" / "DMSC_sample.csv", ROOT / "sample" / "tokenizer"
SAVING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signals")
    tiny_models.make_text_model(folder / "model")
    users = {"影迷甲": [Review(f"影片{i}", "画面美！" * (i + 1), f"2015-01-0{i + 1}") for i in range(4)]}
    reviews.write_pipeline_json(folder / "train.json", users)
    # One document, and a step of many seconds.
    users = {"影迷乙": [Review("长片", "画面美，音乐也好！" * 2_500)]}
    reviews.write_pipeline_json(folder / "long.json", users)
    users = {f"影迷{name}": [Review("长片", "画面美，音乐也好！" * 2_500)] for name in "丙丁"}
    reviews.write_pipeline_json(folder / "two_long.json", users)
    return folder


def command(folder, output, *options, data="train.json"):
    return [binary(), *map(str, ["train", "--model", folder / "model", "--data_file", folder / data, "--output_dir", output,
                                 "--val_ratio", 0, "--logging_steps", 1, "--threads", 1, *options])]


ENDLESS = ("--max_steps", 10_000_000)
LONG = ("--max_steps", 2, "--max_length", 200_000)


def wait_until(condition, process):
    """A bound that no machine reaches."""
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < end, "it ended, or nothing happened"
        time.sleep(0.01)


def steps_done(output):
    return len(metrics(output)) if (output / "metrics.jsonl").exists() else 0


def end_of(process):
    error = process.communicate(timeout=120)[1]
    return process.returncode, error


def checkpoints(output):
    return [path.name for path in output.glob("checkpoint-*")]


@pytest.mark.parametrize("number", SAVING)
def test_a_signal_saves(folder, tmp_path, number):
    process = subprocess.Popen(command(folder, tmp_path / "out", *ENDLESS), stderr=subprocess.PIPE, text=True)
    wait_until(lambda: steps_done(tmp_path / "out") >= 2, process)
    process.send_signal(number)
    time.sleep(0.05)
    process.send_signal(number)  # soon after: the same
    status, error = end_of(process)
    assert status == 128 + number
    saved, = checkpoints(tmp_path / "out")
    assert f"saved {tmp_path}/out/{saved}" in error.splitlines()[-1]
    reference.load(tmp_path / "out" / saved)


# In the middle of a step: what is saved is what was there before it.
@pytest.mark.parametrize("options", [(), ("--use_lora",), ("--gradient_accumulation_steps", 2)])
def test_a_long_step_is_given_up(folder, tmp_path, options):
    process = subprocess.Popen(command(folder, tmp_path / "out", *LONG, *options, data="long.json"), stderr=subprocess.PIPE,
                               text=True)
    wait_until((tmp_path / "out" / "run.json").exists, process)
    process.send_signal(signal.SIGTERM)
    status, error = end_of(process)
    assert status == 128 + signal.SIGTERM, error
    assert checkpoints(tmp_path / "out") == ["checkpoint-0"] and steps_done(tmp_path / "out") == 0


def test_an_evaluation_is_given_up(folder, tmp_path):
    """The one before the first step, of a sample that takes many seconds."""
    process = subprocess.Popen(command(folder, tmp_path / "out", *LONG, "--val_ratio", 0.5, data="two_long.json"),
                               stderr=subprocess.PIPE, text=True)
    wait_until((tmp_path / "out" / "run.json").exists, process)
    process.send_signal(signal.SIGTERM)
    status, error = end_of(process)
    assert status == 128 + signal.SIGTERM, error
    assert checkpoints(tmp_path / "out") == ["checkpoint-0"] and metric_lines(tmp_path / "out") == []


def test_a_save_that_has_begun_is_finished(folder, tmp_path):
    process = subprocess.Popen(command(folder, tmp_path / "out", *ENDLESS, "--save_steps", 1, "--save_total_limit", 2),
                               stderr=subprocess.PIPE, text=True)
    wait_until(lambda: any((tmp_path / "out").glob("checkpoint-*.trireme-*")), process)
    process.send_signal(signal.SIGTERM)
    status, error = end_of(process)
    assert status == 128 + signal.SIGTERM, error
    last = f"checkpoint-{steps_done(tmp_path / 'out')}"
    saved = checkpoints(tmp_path / "out")
    assert last in saved and len(saved) <= 2 and not any(".trireme-" in name for name in saved)
    for name in saved:
        reference.load(tmp_path / "out" / name)


def test_a_result_that_is_being_placed_is_finished(folder, tmp_path):
    """Nothing is left to train: the run ends as it would have, or the signal came before its last step's end."""
    process = subprocess.Popen(command(folder, tmp_path / "out", "--max_steps", 1), stderr=subprocess.PIPE, text=True)
    wait_until(lambda: any((tmp_path / "out").glob("best*")) or (tmp_path / "out" / "config.json").exists(), process)
    process.send_signal(signal.SIGTERM)
    status, error = end_of(process)
    assert status == 0, error
    reference.load(tmp_path / "out")


def test_before_the_weights_a_signal_ends_the_program(folder, tmp_path):
    """The first of two ranks waits for the second, which never comes."""
    process = subprocess.Popen(command(folder, tmp_path / "out", *ENDLESS, "--sequence_parallel_size", 2),
                               env=launched(2, 0, free_port()), stderr=subprocess.PIPE, text=True)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    process.send_signal(signal.SIGTERM)
    assert end_of(process)[0] == -signal.SIGTERM
    assert not (tmp_path / "out").exists()


def test_ranks_give_up_a_long_step_together(folder, tmp_path):
    port = free_port()
    arguments = command(folder, tmp_path / "out", *LONG, "--sequence_parallel_size", 2, "--zero_stage", 3, data="long.json")
    ranks = [subprocess.Popen(arguments, env=launched(2, rank, port), stderr=subprocess.PIPE, text=True) for rank in range(2)]
    wait_until((tmp_path / "out" / "run.json").exists, ranks[0])
    ranks[0].send_signal(signal.SIGUSR1)  # one is enough
    assert [end_of(rank)[0] for rank in ranks] == [128 + signal.SIGUSR1] * 2
    assert checkpoints(tmp_path / "out") == ["checkpoint-0"]
    ours = reference.load(tmp_path / "out" / "checkpoint-0").state_dict()
    before = reference.load(folder / "model").state_dict()
    assert all(tensor.equal(before[name]) for name, tensor in ours.items())


def test_what_was_ignored_stays_ignored(folder, tmp_path):
    def ignore():
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    process = subprocess.Popen(command(folder, tmp_path / "out", *ENDLESS), stderr=subprocess.PIPE, text=True,
                               preexec_fn=ignore)
    wait_until(lambda: steps_done(tmp_path / "out") >= 1, process)
    for number in (signal.SIGINT, signal.SIGHUP):
        process.send_signal(number)
    before = steps_done(tmp_path / "out")
    wait_until(lambda: steps_done(tmp_path / "out") >= before + 3, process)
    process.send_signal(signal.SIGTERM)
    assert end_of(process)[0] == 128 + signal.SIGTERM


# Lines for people are lost, the run is not.
@pytest.mark.parametrize("shell", ["{} 2>&1 | head -n 1", "{} 2>&-", "{} >&- 2>&-", "{} 2>/dev/full"])
def test_a_reader_that_goes_away(folder, tmp_path, shell):
    arguments = command(folder, tmp_path / "out", "--max_steps", 30)
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell.format('"$@"'), "bash", *arguments], timeout=120,
                          stdin=subprocess.DEVNULL, capture_output=True)
    assert done.returncode == 0, done
    assert steps_done(tmp_path / "out") == 30
    event, = [line for line in metric_lines(tmp_path / "out") if "event" in line]
    assert event["event"].startswith("stderr takes no more lines: ")
    reference.load(tmp_path / "out")


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("data", "--data_file", DATA, "--tokenizer", TOKENIZER)])
@pytest.mark.parametrize("closing", [">&-", ">/dev/full"])
def test_a_result_that_is_lost_is_an_error(arguments, closing):
    done = subprocess.run(["bash", "-c", f'"$@" {closing}', "bash", binary(), *map(str, arguments)], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.startswith("trireme: stdout: cannot write the result"), done
