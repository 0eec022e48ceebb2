"""Ranks that share each sequence as a ring, and as a ring of groups that exchange heads, against one rank: processes that
meet over Gloo. The C++ tests have every degree; here are the program's options, and files in and out.

Tolerances as in test_ranks.py.
"""
import json

import pytest
from program import dump
from test_ranks import (BATCHES, assert_equal, assert_no_leak, dump_arguments, dump_on, dump_refused, free_port,
                        launched, make_batch, start)

RING, HYBRID = ("--sequence_parallel_type", "ring"), ("--sequence_parallel_type", "hybrid")
CASES = [("qwen3_head_dim", 3, RING, "packed", True),
         ("qwen3_head_dim", 3, RING, "one document", False),                        # evaluation
         ("llama_untied", 2, (*RING, "--ring_order", "contiguous"), "one document", True),
         ("qwen3_moe_norm_topk", 3, RING, "packed", True),
         ("qwen3_head_dim", 8, HYBRID, "packed", True),                             # ring 4 x Ulysses 2: the key heads
         ("qwen3_moe_norm_topk", 4, (*HYBRID, "--ulysses_size", 2), "packed", True)]


@pytest.mark.parametrize("name,ranks,options,batch,grads", CASES)
def test_a_ring_equals_one_rank(folder, scratch, name, ranks, options, batch, grads):
    documents, labels = make_batch(BATCHES[batch])
    one = dump(folder(name), documents, labels, scratch, "--threads", 1, grads=grads)
    assert_equal(one, dump_on(ranks, folder(name), documents, labels, scratch, *options, grads=grads))


def test_adapters_drop_the_same_in_a_ring(folder, scratch):
    documents, labels = make_batch(BATCHES["packed"])
    flags = ("--use_lora", "--lora_r", 4, "--lora_alpha", 8, "--lora_dropout", 0.3, "--target_modules", "all-linear")
    one = dump(folder("qwen3_head_dim"), documents, labels, scratch, "--threads", 1, *flags)
    assert_equal(one, dump_on(4, folder("qwen3_head_dim"), documents, labels, scratch, *HYBRID, *flags))


def test_a_changed_token_does_not_leak_round_the_ring_into_other_documents(folder, scratch):
    assert_no_leak(folder("qwen3_head_dim"), scratch, *RING)


def test_degrees_that_cannot_be_are_refused_with_what_can(folder, scratch):
    documents, labels = make_batch([9])

    def refused(*options):
        return dump_refused(folder("qwen3_head_dim"), documents, labels, scratch, launched(1, 0, free_port()), *options)

    assert refused("--sequence_parallel_size", 6, *HYBRID, "--ulysses_size", 4) == (
        "trireme: --ulysses_size 4: does not divide both the 6 ranks that share a sequence and the model's 8 attention "
        "heads: use one of 1, 2\n")
    assert "--ulysses_size is of --sequence_parallel_type hybrid" in refused("--sequence_parallel_size", 4, *RING,
                                                                             "--ulysses_size", 2)
    assert "start 8 ranks" in refused("--sequence_parallel_size", 8, *HYBRID)
    assert "'rings' is not known: ulysses, ring or hybrid" in refused("--sequence_parallel_type", "rings")


def test_documents_that_no_ring_shares_evenly_are_told_of(folder, scratch):
    """Three tokens for four ranks."""
    documents, labels = make_batch([3])
    (scratch / "batch.json").write_text(json.dumps({"documents": list(documents), "labels": list(labels)}))
    port = free_port()
    started = [start(4, rank, port, *dump_arguments(folder("qwen3_head_dim"), scratch, 4), *RING) for rank in range(4)]
    errors = [process.communicate(timeout=60)[1] for process in started]
    assert "ranks of the ring have unlike shares of attention: 3 tokens of 1 documents" in errors[0]
    assert errors[1:] == [""] * 3


def test_a_timeline_shows_exchanges_under_computation(folder, scratch):
    """A Chrome trace of the first rank: keys and values go round, and gradients are summed, while products run."""
    port = free_port()
    started = [start(2, rank, port, "bench", "--model", folder("qwen3_head_dim"), "--length", 1000, "--steps", 1,
                     "--threads", 1, "--zero_stage", 3, "--sequence_parallel_size", 2, *RING, "--timeline",
                     scratch / "trace.json") for rank in range(2)]
    errors = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], errors
    events = [event for event in json.loads((scratch / "trace.json").read_text())["traceEvents"] if "dur" in event]
    exchanges = [event for event in events if event["name"].startswith("gloo:")]
    products = [event for event in events if event["name"].startswith(("aten::mm", "aten::addmm", "aten::_scaled_dot"))]

    def under(exchange):
        return any(product["ts"] < exchange["ts"] + exchange["dur"] and exchange["ts"] < product["ts"] + product["dur"]
                   for product in products)

    assert {event["name"] for event in exchanges} == {"gloo:all_to_all", "gloo:all_gather", "gloo:all_reduce"}
    assert any(under(exchange) for exchange in exchanges)
