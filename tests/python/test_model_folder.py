"""Model folders as other programs leave them, against transformers: heads of their own, names under a prefix, float8.

Tolerances as in test_parity.py and test_training.py: logits 1e-4, gradients 1e-4 of their norm, losses of a run 2e-5.
"""
import functools
import json

import float8
import pytest
import reference
import reviews
import tiny_models
import torch
from program import dump, metrics, run, train
from reviews import Review
from safetensors.torch import load_file
from test_parity import assert_parity, make_documents
from test_ranks_training import train_on
from transformers import AutoModel

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
USERS = {"影迷甲": [Review("盐湖快车", "画面美，音乐也好！"), Review("长街", "好", "2017-01-01")],
         "路人": [Review("南方来信", "It's fine, 7/10. " * 3)]}
FLAGS = ("--val_ratio", 0, "--logging_steps", 1, "--learning_rate", 1e-3, "--lr_scheduler_type", "constant",
         "--max_grad_norm", 0, "--adam_epsilon", 1e-3)


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    """The folder of a tied model."""
    return tiny_models.make_text_model(tmp_path_factory.mktemp("text") / "model")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return reviews.write_pipeline_json(tmp_path_factory.mktemp("data") / "train.json", USERS)


def changed(folder, to, change):
    """A copy of the folder whose tensors `change` edits."""
    copy = tiny_models.copy_of(folder, to)
    tiny_models.edit_weights(copy, change)
    return copy


def assert_read_as_transformers_does(model, scratch):
    theirs = reference.load(model)
    documents, labels = make_documents(theirs.config.vocab_size, (37, 5, 23))
    assert_parity(dump(model, documents, labels, scratch), reference.forward_backward(theirs, documents, labels))


def assert_trained_as_by_pytorch(model, data, output, steps=3):
    """Losses of a run, and of the model that it writes, as a loop of PyTorch has them on the same samples."""
    done = train(model, data, output, *FLAGS, "--max_steps", steps, "--save_steps", 2)
    samples = reviews.samples(USERS)
    batch = [ids for ids, _ in samples], [labels for _, labels in samples]
    losses, _ = reference.train(reference.load(model), *batch, steps, 1e-3, 0.0, None, eps=1e-3)
    assert [line["loss"] for line in metrics(output)] == pytest.approx(losses[:-1], abs=2e-5)
    written = reference.forward_backward(reference.load(output), *batch)
    assert written.loss == pytest.approx(losses[-1], abs=2e-5)
    return done


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


# A head beside tie_word_embeddings: true. transformers ties them where they are equal (modeling_utils tie_weights).

def with_head(tensors):
    tensors[HEAD] = torch.randn(tensors[EMBED].shape, generator=torch.Generator().manual_seed(2)) * 0.2


def with_last_row_changed(tensors):
    tensors[HEAD] = tensors[EMBED].clone()
    tensors[HEAD][-1, -1] += 1


def with_equal_head(tensors):
    tensors[HEAD] = tensors[EMBED].clone()


def with_head_only(tensors):
    tensors[HEAD] = tensors.pop(EMBED)


@pytest.mark.parametrize("change", [with_last_row_changed, with_equal_head])  # others: test_matrix.py
def test_a_head_beside_a_config_that_ties_it(text_model, tmp_path, change):
    assert_read_as_transformers_does(changed(text_model, tmp_path / "model", change), tmp_path)


def test_a_head_of_its_own_is_trained_and_written(text_model, data, tmp_path):
    model = changed(text_model, tmp_path / "model", with_head)
    done = assert_trained_as_by_pytorch(model, data, tmp_path / "out")
    assert "tie_word_embeddings true" in done.stderr and "lm_head.weight" in done.stderr
    for folder in (tmp_path / "out", tmp_path / "out" / "checkpoint-2"):
        tensors = load_file(folder / "model.safetensors")
        assert config_of(folder)["tie_word_embeddings"] is False
        assert not torch.equal(tensors[HEAD], tensors[EMBED])
    train_on(2, model, data, tmp_path / "ranks", *FLAGS, "--max_steps", 3, "--zero_stage", 3, "--batch_size", 1,
             "--sequence_parallel_size", 2, "--packing", "on")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "ranks"))
    assert max((one[name] - two[name]).abs().max().item() for name in one | two) < 1e-5


def test_a_head_of_its_own_is_kept_by_a_merge(text_model, data, tmp_path):
    model = changed(text_model, tmp_path / "model", with_head)
    train(model, data, tmp_path / "adapter", *FLAGS, "--max_steps", 1, "--use_lora")
    run("export", "--model", model, "--adapter", tmp_path / "adapter", "--merge", "--output_dir", tmp_path / "merged")
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    assert torch.equal(merged[HEAD], load_file(model / "model.safetensors")[HEAD])
    assert config_of(tmp_path / "merged")["tie_word_embeddings"] is False


def test_an_equal_head_is_written_once(text_model, data, tmp_path):
    model = changed(text_model, tmp_path / "model", with_equal_head)
    train(model, data, tmp_path / "out", *FLAGS, "--max_steps", 1)
    assert HEAD not in tiny_models.tensor_names(tmp_path / "out")
    assert config_of(tmp_path / "out")["tie_word_embeddings"] is True


# Names of tensors. transformers reads the base model's as they are, the others only from the model that wrote them.

def behind(decoder, head=""):
    """Names with this before what is the decoder's, and that before the head's."""
    def change(tensors):
        for name in list(tensors):
            standard = name.startswith("model.")
            tensors[decoder + name.removeprefix("model.") if standard else head + name] = tensors.pop(name)
    return change


def wrapped_layer_by_layer(tensors):
    for name in [name for name in tensors if ".layers.1." in name]:
        tensors[name.replace(".layers.1.", ".layers.1._orig_mod.")] = tensors.pop(name)


@pytest.fixture(scope="module")
def untied_model(tmp_path_factory):
    return tiny_models.make_text_model(tmp_path_factory.mktemp("untied") / "model", tie_word_embeddings=False)


@pytest.fixture(scope="module")
def logits_of(text_model, untied_model):
    """logits_of(tied): the documents, and what transformers makes of them."""
    documents, labels = make_documents(4096, (37, 5, 3))

    @functools.cache
    def compute(tied):
        model = reference.load(text_model if tied else untied_model)
        return documents, labels, reference.forward_backward(model, documents, labels).logits
    return compute


@pytest.mark.parametrize("tied, change", [
    (True, behind("")), (False, behind("")), (False, behind("module._orig_mod.model.", "module._orig_mod.")),
    (False, wrapped_layer_by_layer), (False, behind("base_model.model.model.", "base_model.model."))])
def test_names_under_another_prefix(text_model, untied_model, logits_of, tmp_path, tied, change):
    model = changed(text_model if tied else untied_model, tmp_path / "model", change)
    documents, labels, theirs = logits_of(tied)
    assert (dump(model, documents, labels, tmp_path, grads=False).logits - theirs).abs().max() <= 1e-4


def test_the_base_model_alone_as_transformers_saves_it(text_model, data, tmp_path):
    """AutoModel's folder in shards; the result has the standard names."""
    AutoModel.from_pretrained(text_model).save_pretrained(tmp_path / "model", max_shard_size="500KB")
    assert tiny_models.shard_count(tmp_path / "model") > 1
    assert "norm.weight" in tiny_models.tensor_names(tmp_path / "model")
    tiny_models.edit_json(tmp_path / "model" / "config.json",
                          lambda config: config.update(architectures=["Qwen3ForCausalLM"]))
    tiny_models.with_tokenizer(tmp_path / "model")
    done = assert_trained_as_by_pytorch(tmp_path / "model", data, tmp_path / "out", steps=1)
    assert "tensors are named as embed_tokens.weight: read as model.embed_tokens.weight" in done.stderr
    assert set(tiny_models.tensor_names(tmp_path / "out")) == set(tiny_models.tensor_names(text_model))


def test_a_merge_writes_standard_names(untied_model, data, tmp_path):
    model = changed(untied_model, tmp_path / "model", behind("_orig_mod.model.", "_orig_mod."))
    train(model, data, tmp_path / "adapter", *FLAGS, "--max_steps", 1, "--use_lora")
    run("export", "--model", model, "--adapter", tmp_path / "adapter", "--merge", "--output_dir", tmp_path / "merged")
    assert set(tiny_models.tensor_names(tmp_path / "merged")) == set(tiny_models.tensor_names(untied_model))


# Fine-grained float8. transformers makes plain weights of it where it finds no GPU; where blocks are cut by edges, which it
# does not read, the formula does (float8.py). What is written is bfloat16.

WHOLE, EDGES = (16, 32), (24, 40)  # blocks that cover the matrices below, and blocks that their edges cut
SIZES = {"hidden_size": 64, "head_dim": 16, "intermediate_size": 160}


def make_float8(folder, kind, block, dtype=torch.float32, **options):
    sizes = {"qwen3": SIZES, "qwen2": {}, "qwen3_moe": {**SIZES, "moe_intermediate_size": 32}}[kind]
    return float8.make(tiny_models.make_text_model(folder, kind, dtype=torch.bfloat16, **sizes), block, dtype, **options)


@pytest.fixture(scope="module")
def float8_model(tmp_path_factory):
    return make_float8(tmp_path_factory.mktemp("float8") / "model", "qwen3", EDGES)


@pytest.fixture(scope="module")
def plain(float8_model, tmp_path_factory):
    """Its weights in fp32, by the formula."""
    return float8.undone(float8_model, tmp_path_factory.mktemp("plain") / "model", EDGES)


@pytest.mark.parametrize("kind, block, dtype, keep", [("qwen3", WHOLE, torch.float32, ("layers.0.mlp",)),
                                                      ("qwen3_moe", WHOLE, torch.bfloat16, ()),
                                                      ("qwen3", WHOLE, torch.float8_e8m0fnu, ()),
                                                      ("qwen2", None, torch.float32, ())])
def test_float8_as_transformers_reads_it(tmp_path, kind, block, dtype, keep):
    assert_read_as_transformers_does(make_float8(tmp_path / "model", kind, block, dtype, keep=keep), tmp_path)


def test_float8_blocks_at_edges(float8_model, plain, tmp_path):
    documents, labels = make_documents(4096, (37, 5, 23))
    assert_parity(dump(float8_model, documents, labels, tmp_path),
                  reference.forward_backward(reference.load(plain), documents, labels))


def test_float8_of_fused_experts(tmp_path):
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


def test_full_fine_tuning_of_float8(float8_model, plain, data, tmp_path):
    done = train(float8_model, data, tmp_path / "out", *FLAGS, "--max_steps", 3, "--save_steps", 2)
    assert "float8 with a scale for each block of 24 x 40: read as bfloat16" in done.stderr
    samples = reviews.samples(USERS)
    batch = [ids for ids, _ in samples], [labels for _, labels in samples]
    losses, _ = reference.train(reference.load(plain), *batch, 3, 1e-3, 0.0, None, eps=1e-3)
    assert [line["loss"] for line in metrics(tmp_path / "out")] == pytest.approx(losses[:-1], abs=2e-5)
    assert_written_plain(tmp_path / "out")
    assert_written_plain(tmp_path / "out" / "checkpoint-2")
    assert reference.forward_backward(reference.load(tmp_path / "out"), *batch).loss == pytest.approx(losses[-1], rel=1e-2)
    train_on(2, float8_model, data, tmp_path / "ranks", *FLAGS, "--max_steps", 3, "--zero_stage", 3, "--batch_size", 1,
             "--sequence_parallel_size", 2, "--packing", "on")
    assert [line["loss"] for line in metrics(tmp_path / "ranks")] == pytest.approx(losses[:-1], abs=2e-5)


def test_lora_on_float8_and_merge(float8_model, plain, data, tmp_path):
    """The weights are those of the plain folder, so that not a bit of a run differs."""
    flags = (*FLAGS, "--max_steps", 3, "--use_lora", "--lora_r", 4, "--lora_alpha", 8)
    for name, folder in (("float8", float8_model), ("plain", plain)):
        train(folder, data, tmp_path / name, *flags)
    assert [line["loss"] for line in metrics(tmp_path / "float8")] == [line["loss"] for line in metrics(tmp_path / "plain")]
    run("export", "--model", float8_model, "--adapter", tmp_path / "float8", "--merge", "--output_dir",
        tmp_path / "merged")
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
def test_float8_that_cannot_be_read(float8_model, data, tmp_path, change, says):
    folder = tiny_models.copy_of(float8_model, tmp_path / "model")
    if change is None:
        tiny_models.edit_json(folder / "config.json", lambda config: config.pop("quantization_config"))
    else:
        tiny_models.edit_weights(folder, change)
    done = train(folder, data, tmp_path / "out", *FLAGS, "--max_steps", 1, expect=2)
    assert all(text in done.stderr.splitlines()[-1] for text in says), done.stderr
