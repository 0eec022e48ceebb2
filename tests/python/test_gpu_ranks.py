"""Ranks that share one GPU, through host memory, against one rank on it; skips where there is no GPU.

Tolerances: fp32 as on the CPU but for the order of sums within kernels; bf16: gradients of the same rows are rounded where
they leave a rank.
"""
import pytest
import reference
import tiny_models
from program import dump
from test_gpu_parity import CONFIGS, make_batch
from test_ranks import dump_on

TOLERANCE = {"float32": (1e-5, 1e-4), "bfloat16": (2e-3, 3e-2)}  # of the loss; of each gradient's norm


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("name", ["qwen3", "qwen3_moe"])
def test_ranks_on_one_gpu_equal_one_rank(tmp_path_factory, tmp_path, name, ranks, dtype):
    model = tiny_models.save(tiny_models.build(CONFIGS[name]()), tmp_path_factory.mktemp(name) / "model")
    documents, labels = make_batch((37, 1, 160, 64, 2, 223))
    flags = ("--device", "cuda", "--dtype", dtype)
    one = dump(model, documents, labels, tmp_path, *flags)
    many = dump_on(ranks, model, documents, labels, tmp_path, *flags)
    of_loss, of_gradient = TOLERANCE[dtype]
    assert many.tokens == one.tokens
    assert many.loss_sum == pytest.approx(one.loss_sum, rel=of_loss)
    for tensor, error in reference.gradient_errors(many.grads, one.grads).items():
        assert error <= of_gradient, f"gradient of {tensor}: {error:.1e} of its norm"
