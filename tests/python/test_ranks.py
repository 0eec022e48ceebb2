"""Several ranks against one: each a process of `trireme dump`, which meet over Gloo as torchrun would have them meet.

Tolerances, in fp32: loss 1e-6 relative, each gradient 1e-5 of its norm. Ranks compute the same numbers from the same
rows; only the sums over rows are in another order.
"""
import json
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import sys
import time

import pytest
import reference
import reviews
import tiny_models
from program import binary, dump, run
from reviews import Review
from test_parity import make_documents

DEGREES = {"qwen3_head_dim": (2, 4, 8),         # 8 query heads, 2 key heads
           "qwen3_moe_norm_topk": (2, 4),       # 4 query heads, 1 key head
           "llama_untied": (2, 3)}              # 6 query heads, 3 key heads: neither divides the other
BATCHES = {"one document": [211], "packed": [37, 1, 5, 64, 2, 23] * 8 + [3, 7]}
CASES = [(name, degree) for name, degrees in DEGREES.items() for degree in degrees]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launched(ranks, rank, port):
    return {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(rank),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def start(ranks, rank, port, *arguments, **options):
    return subprocess.Popen([binary(), *map(str, arguments)], env=launched(ranks, rank, port), text=True,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)


def dump_on(ranks, model, documents, labels, folder, *options, **what):
    """dump() with the other ranks beside it."""
    port = free_port()
    flags = ["--sequence_parallel_size", ranks, "--threads", 1, *options]
    wanted = ["--logits"] * what.get("logits", True) + ["--grads"] * what.get("grads", True)
    others = [start(ranks, rank, port, "dump", "--model", model, "--batch", folder / "batch.json", "--out",
                    folder / "dump.safetensors", *wanted, *flags) for rank in range(1, ranks)]
    try:
        return dump(model, documents, labels, folder, *flags, env=launched(ranks, 0, port), **what)
    finally:
        ends = [other.communicate(timeout=60)[1] for other in others]
        assert all(other.returncode == 0 for other in others), ends


def make_batch(lengths):
    return (part[3:] for part in make_documents(131, [3, 2, 3, *lengths]))


def assert_equal(one, many, tolerance=1e-5):
    assert many.tokens == one.tokens
    assert abs(many.loss_sum - one.loss_sum) <= 1e-6 * one.loss_sum
    assert (many.logits - one.logits).abs().max() <= 2e-6 * one.logits.abs().max()
    assert many.grads.keys() == one.grads.keys()
    for name, error in (reference.gradient_errors(many.grads, one.grads) if one.grads else {}).items():
        assert error <= tolerance, f"gradient of {name}: {error:.1e} of its norm"


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name,degree", CASES)
def test_ulysses_equals_one_rank(folder, scratch, name, degree, batch):
    documents, labels = make_batch(BATCHES[batch])
    for grads in (True, False):
        one = dump(folder(name), documents, labels, scratch, "--threads", 1, grads=grads)
        assert_equal(one, dump_on(degree, folder(name), documents, labels, scratch, grads=grads))


@pytest.mark.parametrize("name", ["qwen3_head_dim", "qwen3_moe_norm_topk"])
@pytest.mark.parametrize("ranks,stage", [(2, 0), (2, 3), (4, 2), (4, 3)])
def test_zero_stages_equal_one_rank(folder, scratch, name, ranks, stage):
    documents, labels = make_batch(BATCHES["packed"])
    one = dump(folder(name), documents, labels, scratch, "--threads", 1)
    assert_equal(one, dump_on(ranks, folder(name), documents, labels, scratch, "--zero_stage", stage))


def test_a_sequence_shorter_than_the_ranks(folder, scratch):
    """Five of eight ranks have no rows. The softmax of three tokens is all but one-hot, and what is left of the
    gradients of queries and keys is mostly rounding: 1e-3 of them."""
    documents, labels = make_batch([3])
    one = dump(folder("qwen3_head_dim"), documents, labels, scratch, "--threads", 1)
    assert_equal(one, dump_on(8, folder("qwen3_head_dim"), documents, labels, scratch), tolerance=1e-3)


def test_adapters_drop_the_same_on_any_number_of_ranks(folder, scratch):
    documents, labels = make_batch(BATCHES["packed"])
    flags = ("--use_lora", "--lora_r", 4, "--lora_alpha", 8, "--lora_dropout", 0.3, "--target_modules", "all-linear")
    one = dump(folder("qwen3_head_dim"), documents, labels, scratch, "--threads", 1, *flags)
    assert any(grad.norm() > 0 for grad in one.grads.values())
    assert_equal(one, dump_on(4, folder("qwen3_head_dim"), documents, labels, scratch, *flags))


def assert_no_leak(model, scratch, *options):
    """A changed token of a document changes that document's logits on four ranks, and no others'."""
    documents, labels = make_batch(BATCHES["packed"])
    before = dump_on(4, model, documents, labels, scratch, *options, grads=False)
    documents[3][0] = (documents[3][0] + 1) % 131
    after = dump_on(4, model, documents, labels, scratch, *options, grads=False)
    first = sum(map(len, documents[:3]))
    same = (before.logits == after.logits).all(1)
    assert not same[first:first + len(documents[3])].any()
    assert same[:first].all() and same[first + len(documents[3]):].all()


def test_a_changed_token_does_not_leak_over_ranks_into_other_documents(folder, scratch):
    assert_no_leak(folder("qwen3_head_dim"), scratch)


# Bad input.

def test_degrees_that_cannot_be_are_refused_with_what_can(folder, scratch):
    documents, labels = make_batch([9])
    def refused(ranks, degree):
        return dump_refused(folder("qwen3_head_dim"), documents, labels, scratch, launched(ranks, 0, free_port()),
                            "--sequence_parallel_size", degree)
    assert refused(1, 8) == ("trireme: 1 ranks cannot be laid out as pipeline 1 x ring 1 x ulysses 8 x tensor 1: start 8 "
                             "ranks or a multiple of them, or use smaller degrees\n")
    assert "3 ranks cannot be laid out" in refused(3, 2)


def dump_refused(model, documents, labels, folder, env, *options):
    (folder / "batch.json").write_text(json.dumps({"documents": documents, "labels": labels}))
    return run("dump", "--model", model, "--batch", folder / "batch.json", "--out", folder / "never.safetensors",
               *options, env=env, expect=2).stderr


def test_heads_that_the_degree_does_not_divide(folder, scratch):
    documents, labels = make_batch([9])
    port = free_port()
    others = [start(3, rank, port, "dump", "--model", folder("qwen3_head_dim"), "--batch", scratch / "batch.json", "--out",
                    scratch / "never.safetensors", "--sequence_parallel_size", 3) for rank in (1, 2)]
    error = dump_refused(folder("qwen3_head_dim"), documents, labels, scratch, launched(3, 0, port),
                         "--sequence_parallel_size", 3)
    assert error == ("trireme: --sequence_parallel_size 3: does not divide the model's 8 attention heads: use one of 1, 2, "
                     "4, 8, or --sequence_parallel_type hybrid\n")
    for process in others:
        process.communicate(timeout=60)
        assert process.returncode == 2


def test_different_options_are_named_with_their_ranks(folder, scratch):
    documents, labels = make_batch([9])
    (scratch / "batch.json").write_text(json.dumps({"documents": documents, "labels": labels}))
    port, model = free_port(), folder("qwen3_head_dim")
    ranks = [start(4, rank, port, *dump_arguments(model, scratch, 4), "--seed", 7 if rank in (1, 2) else 5)
             for rank in range(4)]
    ends = [rank.communicate(timeout=60)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [2] * 4
    assert ends[0] == ("trireme: --seed is 5 on ranks 0, 3 and 7 on ranks 1, 2: start all ranks with the same options and "
                       "files\n")
    assert ends[1:] == [""] * 3  # said once


@pytest.mark.parametrize("option", ["--batch", "--model"])
def test_different_files_behind_an_option_are_named(folder, scratch, option):
    documents, labels = make_batch([9, 5])
    (scratch / "batch.json").write_text(json.dumps({"documents": documents, "labels": labels}))
    other = {"--batch": scratch / "other.json", "--model": folder("llama_untied")}[option]
    (scratch / "other.json").write_text(json.dumps({"documents": documents[::-1], "labels": labels[::-1]}))
    port, arguments = free_port(), dump_arguments(folder("qwen3_head_dim"), scratch, 2)
    ranks = [start(2, 0, port, *arguments), start(2, 1, port, *arguments, option, other)]
    ends = [rank.communicate(timeout=60)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [2, 2]
    file = {"--batch": "", "--model": ": config.json"}[option]
    assert re.fullmatch(rf"trireme: {option}{file} is a file of \d+ bytes with hash \w{{16}} on rank 0 and "
                        r"a file .* on rank 1: start all ranks with the same options and files\n", ends[0]), ends
    assert ends[1] == ""


def other_weights(folder):
    tiny_models.edit_weights(folder, lambda tensors: [tensor.mul_(1.01) for tensor in tensors.values()])


def another_template(folder):
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}")


# Of a folder, what a rank would read by itself: weights of the same sizes too, and a template.
@pytest.mark.parametrize("change, says", [(other_weights, "model.safetensors is a file of "),
                                          (another_template, "chat_template.jinja is not there on rank 0 and a file of ")])
def test_a_model_that_differs_on_one_rank_is_named(tmp_path, change, says):
    one = tiny_models.make_text_model(tmp_path / "one")
    change(tiny_models.copy_of(one, tmp_path / "two"))
    for name in ["one", "two"]:
        os.mkfifo(tmp_path / name / "pipe.json")  # not waited for
    users = {"甲": [Review(f"影片{i}", "画面美") for i in range(4)]}
    data = reviews.write_pipeline_json(tmp_path / "data.json", users)
    port = free_port()
    ranks = [start(2, rank, port, "train", "--model", tmp_path / name, "--data_file", data, "--output_dir",
                   tmp_path / "out", "--max_steps", 1, "--val_ratio", 0) for rank, name in enumerate(["one", "two"])]
    ends = [rank.communicate(timeout=60)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [2, 2]
    assert ends[0].splitlines()[-1].startswith(f"trireme: --model: {says}"), ends
    assert not (tmp_path / "out").exists()


def test_another_program_on_one_rank_is_named(folder, scratch):
    """Its commit stands in the binary: of a copy it is changed."""
    documents, labels = make_batch([9])
    (scratch / "batch.json").write_text(json.dumps({"documents": documents, "labels": labels}))
    commit, = re.findall(r"commit (\w+)", run("--version").stdout)
    if commit == "unknown":
        pytest.skip("built from an archive without a commit")
    code, text = pathlib.Path(binary()).read_bytes(), commit.encode() + b"\0"
    assert code.count(text) == 1
    other = scratch / "trireme"
    other.write_bytes(code.replace(text, bytes(reversed(commit.encode())) + b"\0"))
    other.chmod(0o755)
    port, arguments = free_port(), [*map(str, dump_arguments(folder("qwen3_head_dim"), scratch, 2))]
    ranks = [subprocess.Popen([program, *arguments], env=launched(2, rank, port), text=True, stderr=subprocess.PIPE)
             for rank, program in enumerate([binary(), str(other)])]
    ends = [rank.communicate(timeout=60)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [2, 2]
    assert ends[0].splitlines()[-1].startswith("trireme: the program is version "), ends


def test_a_mistake_before_ranks_meet_has_the_rank(scratch):
    process = start(2, 1, free_port(), "dump", "--modle", "x")
    assert process.communicate(timeout=60)[1].startswith("trireme: rank 1: --modle: unknown option")
    assert process.returncode == 2


# Ranks that die, and those that wait for them.

HOST = re.escape(socket.gethostname())
AT = r"at (forward|head and loss|backward)(, layer \d)?"


def dump_arguments(model, scratch, ranks):
    return ["dump", "--model", model, "--batch", scratch / "batch.json", "--out", scratch / "never.safetensors", "--grads",
            "--threads", 1, "--sequence_parallel_size", ranks]


@pytest.fixture
def long_dump(folder, scratch):
    """Arguments of a pass of two ranks that takes many seconds."""
    documents, labels = make_batch([20000])
    (scratch / "batch.json").write_text(json.dumps({"documents": documents, "labels": labels}))
    yield dump_arguments(folder("qwen3_head_dim"), scratch, 2)
    assert not (scratch / "never.safetensors").exists()


def started(arguments, *options):
    """Two ranks, seconds into the pass."""
    port = free_port()
    ranks = [start(2, rank, port, *arguments, *options) for rank in range(2)]
    for line in ranks[0].stderr:
        if line.startswith("read "):  # the model: the ranks have met
            break
    time.sleep(2)
    return ranks


def end_of(process, within):
    """Its status and the lines that it said, in bounded time."""
    error = process.communicate(timeout=within)[1]
    return process.returncode, error


@pytest.mark.parametrize("killed", [0, 1])  # rank 0 holds the store
def test_a_killed_rank_ends_the_others(long_dump, killed):
    ranks = started(long_dump)
    ranks[killed].kill()
    status, error = end_of(ranks[1 - killed], within=30)
    ranks[killed].communicate()
    assert status == 1
    gone = (r"rank 0 is gone or hangs: the store that it holds does not answer",
            rf"rank 1 on {HOST} is gone or hangs, last seen {AT}")[killed]
    # It waited for the killed rank in a collective, which the line then names, or it was computing.
    waiting = rf" \(rank {1 - killed}: \w+ in group \w+ of ranks 0, 1: "
    assert re.match(rf"trireme: rank {1 - killed} on {HOST} stopped {AT}: {gone}({waiting}|$)", error), error


@pytest.mark.parametrize("stopped", [0, 1])
def test_a_hanging_rank_ends_the_others(long_dump, stopped):
    ranks = started(long_dump, "--collective_timeout", 4)
    ranks[stopped].send_signal(signal.SIGSTOP)
    try:
        status, error = end_of(ranks[1 - stopped], within=4 + 30)
    finally:
        ranks[stopped].kill()
        ranks[stopped].communicate()
    assert status == 1
    assert re.match(rf"trireme: rank {1 - stopped} on {HOST} stopped {AT}: rank {stopped}( on {HOST})? is gone or hangs", error), error


def let_fail(pid):
    """Its next large allocation fails."""
    resource.prlimit(pid, resource.RLIMIT_DATA, (1 << 20, 1 << 20))


OUT_OF_MEMORY = r"out of memory on the host in [a-z ]+(, layer \d)?: .* more was asked for beside .*"


@pytest.mark.parametrize("failing", [0, 1])
def test_a_rank_that_throws_ends_the_others(long_dump, failing):
    ranks = started(long_dump)
    let_fail(ranks[failing].pid)
    ends = [end_of(rank, within=30) for rank in ranks]
    assert ends[failing][0] == 2 and ends[1 - failing][0] == 1, ends
    assert re.search(rf"^trireme: rank {failing} on {HOST} failed {AT}: {OUT_OF_MEMORY}$", ends[failing][1], re.M), ends
    assert re.match(rf"trireme: rank {1 - failing} on {HOST} stopped {AT}: rank {failing} on {HOST} failed first, {AT}: "
                    + OUT_OF_MEMORY, ends[1 - failing][1]), ends


# The same under torchrun, which ends the other ranks itself and prints a summary.

def torchrun(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}",
               "--no-python", binary(), *map(str, arguments)]
    return subprocess.Popen(command, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def test_torchrun_runs_a_dump(folder, scratch):
    documents, labels = make_batch([9])
    (scratch / "batch.json").write_text(json.dumps({"documents": documents, "labels": labels}))
    arguments = dump_arguments(folder("qwen3_head_dim"), scratch, 2)
    arguments[arguments.index("--out") + 1] = scratch / "ran.safetensors"
    status, error = end_of(torchrun(*arguments), within=60)
    assert status == 0, error
    assert (scratch / "ran.safetensors").exists()


def worker(launcher, rank):
    """The process of a rank that torchrun started."""
    children = pathlib.Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    return next(int(pid) for pid in children if f"\0RANK={rank}\0" in pathlib.Path(f"/proc/{pid}/environ").read_text())


def root_cause(summary):
    return summary[summary.index("Root Cause"):]


def test_torchrun_tells_what_a_rank_said(long_dump):
    launcher = torchrun(*long_dump)
    for line in launcher.stderr:
        if line.startswith("read "):
            break
    time.sleep(2)
    let_fail(worker(launcher, 1))
    status, error = end_of(launcher, within=60)
    assert status == 1
    assert re.match(rf"trireme: rank 1 on {HOST} failed {AT}: {OUT_OF_MEMORY}", error), error
    assert re.search(rf"UserError: rank 1 on {HOST} failed {AT}: {OUT_OF_MEMORY}", root_cause(error)), error


def test_torchrun_tells_of_a_mistake(folder, scratch):
    status, error = end_of(torchrun(*dump_arguments(folder("qwen3_head_dim"), scratch, 4)), within=60)
    assert status == 1
    # Of whichever rank ends first: torchrun ends the other.
    assert re.search("^trireme: (rank 1: )?2 ranks cannot be laid out", error, re.M)
    assert re.search("UserError: (rank 1: )?2 ranks cannot be laid out", root_cause(error)), error
