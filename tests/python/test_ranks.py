"""Several ranks against one: each a process of `trireme dump`, which meet over Gloo as torchrun would have them meet.

Tolerances, in fp32: loss 1e-6 relative, each gradient 1e-5 of its norm. Ranks compute the same numbers from the same
rows; only the sums over rows are in another order.
"""
import json
import os
import signal
import socket
import subprocess
import time

import pytest
import reference
from program import binary, dump, run
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


def start(ranks, rank, port, *arguments):
    return subprocess.Popen([binary(), *map(str, arguments)], env=launched(ranks, rank, port), text=True,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


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


def test_a_changed_token_does_not_leak_over_ranks_into_other_documents(folder, scratch):
    documents, labels = make_batch(BATCHES["packed"])
    before = dump_on(4, folder("qwen3_head_dim"), documents, labels, scratch, grads=False)
    documents[3][0] = (documents[3][0] + 1) % 131
    after = dump_on(4, folder("qwen3_head_dim"), documents, labels, scratch, grads=False)
    first = sum(map(len, documents[:3]))
    same = (before.logits == after.logits).all(1)
    assert not same[first:first + len(documents[3])].any()
    assert same[:first].all() and same[first + len(documents[3]):].all()


# Bad input, and ranks that die.

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
                     "4, 8\n")
    for process in others:
        process.communicate(timeout=60)
        assert process.returncode == 2


def test_a_killed_rank_ends_the_others_with_its_group(folder, scratch):
    """Seconds into a pass that takes many; the connections that end with it tell the others."""
    documents, labels = make_batch([20000])
    (scratch / "batch.json").write_text(json.dumps({"documents": documents, "labels": labels}))
    port, arguments = free_port(), ["dump", "--model", folder("qwen3_head_dim"), "--batch", scratch / "batch.json", "--out",
                                    scratch / "never.safetensors", "--grads", "--threads", 1,
                                    "--sequence_parallel_size", 2]
    ranks = [start(2, rank, port, *arguments) for rank in range(2)]
    for line in ranks[0].stderr:
        if line.startswith("read "):  # the model: the ranks have met
            break
    time.sleep(1)
    ranks[1].kill()
    began = time.monotonic()
    error = ranks[0].communicate(timeout=60)[1]
    assert ranks[0].returncode == 1 and time.monotonic() - began < 30
    assert error.startswith("trireme: rank 0: ") and "in group ulysses of ranks 0, 1: " in error, error
    assert not (scratch / "never.safetensors").exists()
