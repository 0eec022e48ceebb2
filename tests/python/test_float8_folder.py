"""Folders in fine-grained float8, against transformers, which makes plain weights of them where it finds no GPU, and against
the formula where transformers reads no blocks at edges (float8.py).

Tolerances as in test_model_folder.py. What is written is bfloat16: its logits are compared with those of the same weights.
"""
import json

import float8
import pytest
import reference
import reviews
import tiny_models
import torch
from program import dump, metrics, run, train
from safetensors.torch import load_file
from test_model_folder import FLAGS, USERS, assert_read_as_transformers_does
from test_parity import assert_parity, make_documents
from test_ranks_training import train_on

WHOLE, EDGES = (16, 32), (24, 40)  # blocks that cover the matrices below, and blocks that their edges cut
SIZES = {"hidden_size": 64, "head_dim": 16, "intermediate_size": 160}


def make(folder, kind, block, dtype=torch.float32, **options):
    sizes = {"qwen3": SIZES, "qwen2": {}, "qwen3_moe": {**SIZES, "moe_intermediate_size": 32}}[kind]
    return float8.make(tiny_models.make_text_model(folder, kind, dtype=torch.bfloat16, **sizes), block, dtype, **options)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make(tmp_path_factory.mktemp("float8") / "model", "qwen3", EDGES)


@pytest.fixture(scope="module")
def plain(model, tmp_path_factory):
    """Its weights in fp32, by the formula."""
    return float8.undone(model, tmp_path_factory.mktemp("plain") / "model", EDGES)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return reviews.write_pipeline_json(tmp_path_factory.mktemp("data") / "train.json", USERS)


@pytest.mark.parametrize("kind, block, dtype, keep", [("qwen3", WHOLE, torch.float32, ("layers.0.mlp",)),
                                                      ("qwen3_moe", WHOLE, torch.bfloat16, ()),
                                                      ("qwen2", None, torch.float32, ())])
def test_read_as_transformers_reads_them(tmp_path, kind, block, dtype, keep):
    assert_read_as_transformers_does(make(tmp_path / "model", kind, block, dtype, keep=keep), tmp_path)


def test_blocks_at_edges(model, plain, tmp_path):
    documents, labels = make_documents(4096, (37, 5, 23))
    assert_parity(dump(model, documents, labels, tmp_path),
                  reference.forward_backward(reference.load(plain), documents, labels))


def test_fused_experts(tmp_path):
    """gate_up_proj_scale_inv: blocks run over the border of gate and up."""
    block = (24, 40)
    model = tiny_models.make_text_model(tmp_path / "model", "qwen3_moe", dtype=torch.bfloat16, **SIZES)
    tiny_models.fuse_experts(model)
    float8.make(model, block)

    def change(tensors):
        for name in [name for name in tensors if name.endswith((".gate_up_proj", "experts.down_proj"))]:
            codes, scales = zip(*(float8.quantise(matrix, block, torch.float32) for matrix in tensors[name]))
            tensors[name], tensors[name + "_scale_inv"] = torch.stack(codes), torch.stack(scales)
    tiny_models.edit_weights(model, change)
    plain = float8.undone(model, tmp_path / "plain", block)
    apart = reference.load(plain)
    documents, labels = make_documents(4096, (37, 5, 3))
    ours = dump(model, documents, labels, tmp_path, grads=False)
    assert (ours.logits - reference.forward_backward(apart, documents, labels).logits).abs().max() <= 1e-4


def assert_written_plain(folder):
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}


def test_full_fine_tuning(model, plain, data, tmp_path):
    done = train(model, data, tmp_path / "out", *FLAGS, "--max_steps", 3, "--save_steps", 2)
    assert "float8 with a scale for each block of 24 x 40: read as bfloat16" in done.stderr
    samples = reviews.samples(USERS)
    batch = [ids for ids, _ in samples], [labels for _, labels in samples]
    losses, _ = reference.train(reference.load(plain), *batch, 3, 1e-3, 0.0, None, eps=1e-3)
    assert [line["loss"] for line in metrics(tmp_path / "out")] == pytest.approx(losses[:-1], abs=2e-5)
    assert_written_plain(tmp_path / "out")
    assert_written_plain(tmp_path / "out" / "checkpoint-2")
    assert reference.forward_backward(reference.load(tmp_path / "out"), *batch).loss == pytest.approx(losses[-1], rel=1e-2)
    train_on(2, model, data, tmp_path / "ranks", *FLAGS, "--max_steps", 3, "--zero_stage", 3, "--batch_size", 1,
             "--sequence_parallel_size", 2, "--packing", "on")
    assert [line["loss"] for line in metrics(tmp_path / "ranks")] == pytest.approx(losses[:-1], abs=2e-5)


def test_lora_and_merge(model, plain, data, tmp_path):
    """The weights are those of the plain folder, so that not a bit of a run differs."""
    flags = (*FLAGS, "--max_steps", 3, "--use_lora", "--lora_r", 4, "--lora_alpha", 8)
    for name, folder in (("float8", model), ("plain", plain)):
        train(folder, data, tmp_path / name, *flags)
    assert [line["loss"] for line in metrics(tmp_path / "float8")] == [line["loss"] for line in metrics(tmp_path / "plain")]
    run("export", "--model", model, "--adapter", tmp_path / "float8", "--merge", "--output_dir", tmp_path / "merged")
    assert_written_plain(tmp_path / "merged")
    adapter = load_file(tmp_path / "float8" / "adapter_model.safetensors")
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    adapted = 0
    for name, weight in load_file(plain / "model.safetensors").items():
        stem, want = "base_model.model." + name.removesuffix("weight"), weight.bfloat16().float()
        if stem + "lora_A.weight" in adapter:
            want = want + 2 * adapter[stem + "lora_B.weight"] @ adapter[stem + "lora_A.weight"]
            adapted += 1
        assert (merged[name].float() - want).abs().max() <= 2**-8 * want.abs().max(), name
    assert adapted > 0 and merged.keys() == load_file(plain / "model.safetensors").keys()


Q = "model.layers.0.self_attn.q_proj.weight"
SCALES = Q + "_scale_inv"


def no_number(tensors):
    tensors[Q].view(torch.uint8)[3, 5] = 0x7f


def infinite_scale(tensors):
    tensors[SCALES][1, 1] = 1e37


def other_blocks(tensors):
    tensors[SCALES] = torch.ones(3, 3)


@pytest.mark.parametrize("change, says", [
    (no_number, [f"tensor {Q} has nan at [3, 5]"]),
    (infinite_scale, [f"tensor {Q} (its scales) has 1e+37, which makes infinite weights"]),
    (lambda tensors: tensors.pop(SCALES), [f"tensor {Q} [64, 64] is float8", "without a weight_scale_inv"]),
    (other_blocks, [f"the scales of tensor {Q} have shape [3, 3]", "weight_block_size", "[3, 2]"]),
    (None, ["is float8 (F8_E4M3), but config.json has no quantization_config"])])
def test_folders_that_cannot_be_read(model, data, tmp_path, change, says):
    folder = tiny_models.copy_of(model, tmp_path / "model")
    if change is None:
        tiny_models.edit_json(folder / "config.json", lambda config: config.pop("quantization_config"))
    else:
        tiny_models.edit_weights(folder, change)
    done = train(folder, data, tmp_path / "out", *FLAGS, "--max_steps", 1, expect=2)
    assert all(text in done.stderr.splitlines()[-1] for text in says), done.stderr
