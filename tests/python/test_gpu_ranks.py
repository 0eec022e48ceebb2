"""Ranks on GPUs against one rank: each on its own, through NCCL, where there are enough, else sharing one, through host
memory. And what two GPUs exchange while they compute; skips where there is no GPU, or one.

Tolerances: fp32 as on the CPU but for the order of sums within kernels; bf16: gradients of the same rows are rounded where
they leave a rank.
"""
import json

import pytest
import reference
import tiny_models
import torch
from program import dump
from test_gpu_parity import CONFIGS, make_batch
from test_ranks import dump_on, free_port, start

TOLERANCE = {"float32": (1e-5, 1e-4), "bfloat16": (2e-3, 3e-2)}  # of the loss; of each gradient's norm


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("kind", ["ulysses", "ring"])
@pytest.mark.parametrize("name", ["qwen3", "qwen3_moe"])
def test_ranks_on_gpus_equal_one_rank(tmp_path_factory, tmp_path, name, kind, ranks, dtype):
    model = tiny_models.save(tiny_models.build(CONFIGS[name]()), tmp_path_factory.mktemp(name) / "model")
    documents, labels = make_batch((37, 1, 160, 64, 2, 223))
    flags = ("--device", "cuda", "--dtype", dtype)
    one = dump(model, documents, labels, tmp_path, *flags)
    many = dump_on(ranks, model, documents, labels, tmp_path, *flags, "--sequence_parallel_type", kind)
    of_loss, of_gradient = TOLERANCE[dtype]
    assert many.tokens == one.tokens
    assert many.loss_sum == pytest.approx(one.loss_sum, rel=of_loss)
    for tensor, error in reference.gradient_errors(many.grads, one.grads).items():
        assert error <= of_gradient, f"gradient of {tensor}: {error:.1e} of its norm"


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_a_timeline_of_two_gpus_shows_keys_and_gradients_on_their_way_under_attention(tmp_path):
    """NCCL's kernels of the first GPU, of which some lie under those of attention, in forward and in backward."""
    port = free_port()
    started = [start(2, rank, port, "bench", "--device", "cuda", "--shape", "qwen3-0.6b", "--layers", 2, "--length", 65536,
                     "--steps", 3, "--sequence_parallel_size", 2, "--sequence_parallel_type", "ring", "--timeline",
                     tmp_path / "trace.json") for rank in range(2)]
    errors = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], errors
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    kernels = [event for event in events if event.get("cat") == "kernel"]
    exchanges = [kernel for kernel in kernels if "ncclDevKernel_SendRecv" in kernel["name"]]

    def under(exchange, attention):
        begin, end = exchange["ts"], exchange["ts"] + exchange["dur"]
        return sum(max(0, min(end, kernel["ts"] + kernel["dur"]) - max(begin, kernel["ts"])) for kernel in attention
                   ) / exchange["dur"]

    attention = [kernel for kernel in kernels if any(name in kernel["name"] for name in ("flash", "fmha", "sdpa"))]
    backward = [kernel for kernel in attention if "bwd" in kernel["name"].lower() or "backward" in kernel["name"].lower()]
    forward = [kernel for kernel in attention if kernel not in backward]
    for name, phase in ("forward", forward), ("backward", backward):
        shares = [under(exchange, phase) for exchange in exchanges]
        print(f"{name}: of {len(exchanges)} exchanges {[round(share, 2) for share in shares]} under {len(phase)} kernels")
        assert max(shares) > 0.5, name
