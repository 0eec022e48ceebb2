"""`trireme dump` against transformers, in fp32 on the CPU, through exactly the training path.

Tolerances: logits 1e-4 absolute, loss 1e-5 relative, each gradient 1e-4 of its norm (reference.gradient_errors). Both
programs round in fp32 in another order; at these sizes that leaves about 1e-6 of each, so the bounds hold on any
machine, while a wrong mask, position, bias or weight decay of the chain rule shows as 1e-2 or more.

Where the same work is done twice by the same kernels, the bits must be equal.
"""
import functools
import random

import pytest
import reference
import tiny_models
import torch
from program import dump
from tiny_models import FAMILIES, POPULAR, STARVED

MOE = [name for name in FAMILIES if "moe" in name]
LENGTHS = [37, 1, 5, 64, 2, 23]  # one- and two-token documents among longer ones


def make_documents(vocab, lengths=tuple(LENGTHS), seed=3):
    """Random documents with random labels left out: single ones, whole prompts, and one document without any."""
    rng = random.Random(seed)
    documents = [[rng.randrange(vocab) for _ in range(length)] for length in lengths]
    labels = [[-100 if rng.random() < 0.2 else token for token in document] for document in documents]
    labels[0][:15] = [-100] * 15
    labels[2] = [-100] * len(labels[2])
    return documents, labels


@pytest.fixture(scope="module")
def pair(folder, scratch):
    """pair(name): (ours, theirs) on the same batch."""
    @functools.cache
    def compute(name):
        model = reference.load(folder(name))
        documents, labels = make_documents(model.config.vocab_size)
        return dump(folder(name), documents, labels, scratch), reference.forward_backward(model, documents, labels)
    return compute


def assert_parity(ours, theirs):
    assert ours.tokens == theirs.tokens
    assert (ours.logits - theirs.logits).abs().max() <= 1e-4
    assert abs(ours.loss_sum - theirs.loss_sum) <= 1e-5 * theirs.loss_sum
    errors = reference.gradient_errors(ours.grads, theirs.grads)
    worst = max(errors, key=errors.get)
    assert errors[worst] <= 1e-4, f"gradient of {worst}: {errors[worst]:.1e} of its norm"


def assert_same_bits(a, b):
    assert a.loss_sum == b.loss_sum
    assert torch.equal(a.logits, b.logits)
    for name, grad in a.grads.items():
        assert torch.equal(grad, b.grads[name]), name


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_loss_and_gradients_equal_transformers(pair, name):
    ours, theirs = pair(name)
    assert theirs.logits.shape == ours.logits.shape
    assert_parity(ours, theirs)


@pytest.mark.parametrize("name", FAMILIES)
def test_another_batch_of_one_long_document(folder, scratch, name):
    model = reference.load(folder(name))
    documents, labels = make_documents(model.config.vocab_size, (3, 2, 3, 211), seed=8)
    documents, labels = documents[3:], labels[3:]
    assert_parity(dump(folder(name), documents, labels, scratch), reference.forward_backward(model, documents, labels))


@pytest.mark.parametrize("name", MOE)
def test_experts_without_and_with_most_tokens(pair, folder, name):
    """The models are what they are said to be, and an expert without a token has a gradient of exact zeros."""
    ours, _ = pair(name)
    model = reference.load(folder(name))
    documents, _ = make_documents(model.config.vocab_size)
    counts = []
    for layer in model.model.layers:
        if hasattr(layer.mlp, "gate"):
            layer.mlp.gate.register_forward_hook(lambda module, inputs, outputs: counts.append(
                torch.bincount(outputs[2].flatten(), minlength=module.num_experts)))
    with torch.no_grad():
        for document in documents:
            model(torch.tensor([document]))
    total = torch.stack(counts).sum(0)
    assert total[STARVED] == 0
    assert total[POPULAR] == total.max() > 0.3 * total.sum()
    starved = [grad for tensor, grad in ours.grads.items() if f".experts.{STARVED}." in tensor]
    assert len(starved) >= 3 and all((grad == 0).all() for grad in starved)
    popular = [grad for tensor, grad in ours.grads.items() if f".experts.{POPULAR}." in tensor]
    assert all(grad.norm() > 0 for grad in popular)


# Packed documents.

@pytest.mark.parametrize("name", ["llama_untied", "qwen3_head_dim", "qwen3_moe_norm_topk"])
def test_packed_documents_equal_separate_runs(pair, folder, scratch, name):
    """Our own runs of each document, summed. Tolerance as for transformers: a GEMM of other height may round otherwise."""
    packed, _ = pair(name)
    documents, labels = make_documents(131)
    alone = [dump(folder(name), [d], [l], scratch) for d, l in zip(documents, labels) if any(x >= 0 for x in l[1:])]
    tokens = sum(run.tokens for run in alone)
    assert packed.tokens == tokens
    assert abs(packed.loss_sum - sum(run.loss_sum for run in alone)) <= 1e-5 * packed.loss_sum
    summed = {name: sum(run.grads[name] * run.tokens for run in alone) / tokens for name in packed.grads}
    errors = reference.gradient_errors(packed.grads, summed)
    assert max(errors.values()) <= 1e-4


@pytest.mark.parametrize("name", FAMILIES)
def test_a_changed_token_does_not_leak_into_other_documents(pair, folder, scratch, name):
    """Bit for bit, forward; with experts the groups change size with the routing, and other GEMM shapes may round
    otherwise: 1e-5 there, where a leak would be 1e-2."""
    before, _ = pair(name)
    documents, labels = make_documents(131)
    documents[3][0] = (documents[3][0] + 1) % 131
    after = dump(folder(name), documents, labels, scratch, grads=False)
    start = sum(LENGTHS[:3])
    end = start + LENGTHS[3]
    difference = (before.logits - after.logits).abs().amax(1)
    assert difference[start:end].min() > 0  # each position of the document sees its first token
    others = torch.cat([difference[:start], difference[end:]])
    assert others.max() <= (1e-5 if name in MOE else 0)


@pytest.mark.parametrize("name", ["llama_untied", "qwen2_untied", "qwen3_moe_norm_topk"])
def test_a_document_without_labels_has_no_gradient(folder, scratch, name):
    """Documents of two disjoint alphabets, only the second trained: embedding rows of the first stay exact zeros, and
    all gradients equal those of the second alone."""
    rng = random.Random(5)
    silent = [rng.randrange(0, 60) for _ in range(31)]
    trained = [rng.randrange(60, 131) for _ in range(29)]
    both = dump(folder(name), [silent, trained, silent], [[-100] * 31, trained, [-100] * 31], scratch)
    alone = dump(folder(name), [trained], [trained], scratch)
    assert both.tokens == alone.tokens == 28
    assert (both.grads["model.embed_tokens.weight"][:60] == 0).all()
    assert max(reference.gradient_errors(both.grads, alone.grads).values()) <= 1e-5


def test_labels_need_not_be_the_tokens(folder, scratch):
    """labels[i] is the target at position i whatever the token there is; labels[0] has nothing that predicts it."""
    model = reference.load(folder("llama_untied"))
    documents = [[5, 6, 7, 8, 9], [3, 4]]
    labels = [[1, -100, 100, 2, 130], [-100, 17]]
    ours = dump(folder("llama_untied"), documents, labels, scratch)
    assert ours.tokens == 4
    assert_parity(ours, reference.forward_backward(model, documents, labels))


# What must not change numbers.

@pytest.mark.parametrize("name", FAMILIES)
def test_kept_and_recomputed_intermediates_give_the_same_bits(pair, folder, scratch, name):
    documents, labels = make_documents(131)
    for tiles in ([], ["--mlp_tile", 32, "--loss_tile", 16]):
        runs = {keep: dump(folder(name), documents, labels, scratch, "--keep", keep, *tiles)
                for keep in ("all", "none", "auto")}
        assert_same_bits(runs["all"], runs["none"])
        assert_same_bits(runs["all"], runs["auto"])
        if not tiles:
            assert_same_bits(runs["auto"], pair(name)[0])  # and the same run twice


@pytest.mark.parametrize("name", ["llama_biases", "qwen3_head_dim", "qwen3_moe_mixed_layers"])
@pytest.mark.parametrize("tiles", [("--mlp_tile", 7), ("--loss_tile", 5), ("--mlp_tile", 64, "--loss_tile", 33)])
def test_tiles_change_only_the_order_of_sums(pair, folder, scratch, name, tiles):
    """A weight gradient is a sum over tiles: another tile is another order of addition. 1e-5 of the norm is far above
    fp32 rounding of a few dozen terms, and far below a forgotten or doubled tile (1e-2)."""
    whole, _ = pair(name)
    documents, labels = make_documents(131)
    tiled = dump(folder(name), documents, labels, scratch, *tiles)
    assert abs(tiled.loss_sum - whole.loss_sum) <= 1e-6 * whole.loss_sum
    assert (tiled.logits - whole.logits).abs().max() <= 1e-5 * whole.logits.abs().max()
    assert max(reference.gradient_errors(tiled.grads, whole.grads).values()) <= 1e-5


def test_parts_of_the_output_are_optional(pair, folder, scratch):
    documents, labels = make_documents(131)
    bare = dump(folder("llama_untied"), documents, labels, scratch, logits=False, grads=False)
    assert bare.logits is None and not bare.grads
    assert bare.loss_sum == pytest.approx(pair("llama_untied")[0].loss_sum, rel=1e-6)


# The ways a checkpoint is stored.

def stored_shards(source, target):
    model = reference.load(source)
    tiny_models.save(model, target, max_shard_size="40KB")
    assert tiny_models.shard_count(target) > 3


def stored_fused(source, target):
    tiny_models.copy_of(source, target)
    tiny_models.fuse_experts(target)
    names = tiny_models.tensor_names(target)
    assert any(name.endswith("mlp.experts.gate_up_proj") for name in names)
    assert not any(".experts.0." in name for name in names)


def stored_fused_shards(source, target):
    """transformers 5 in memory is fused too: its tensors, in one shard per layer and kind, with an index."""
    stored_fused(source, target)
    tiny_models.split_into_shards(target, 3)


def stored_old_keys(source, target):
    tiny_models.copy_of(source, target)
    tiny_models.old_config_keys(target)


def stored_with_tied_head(source, target):
    """Some tied checkpoints carry lm_head.weight nevertheless."""
    tiny_models.copy_of(source, target)
    tiny_models.edit_weights(target, lambda tensors: tensors.update(
        {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}))


@pytest.mark.parametrize("name, store", [
    ("llama_untied", stored_shards), ("qwen3_moe_norm_topk", stored_shards),
    ("qwen3_moe_norm_topk", stored_fused), ("qwen3_moe_mixed_layers", stored_fused),
    ("qwen3_moe_norm_topk", stored_fused_shards),
    ("llama_tied_llama3_rope", stored_old_keys), ("qwen2_tied_7to1", stored_old_keys),
    ("qwen3_head_dim", stored_old_keys), ("qwen3_moe_mixed_layers", stored_old_keys),
    ("qwen3_head_dim", stored_with_tied_head)])
def test_the_same_weights_stored_otherwise_give_the_same_bits(pair, folder, scratch, tmp_path, name, store):
    store(folder(name), tmp_path / "stored")
    documents, labels = make_documents(131)
    assert_same_bits(dump(tmp_path / "stored", documents, labels, scratch), pair(name)[0])


@pytest.mark.parametrize("name", ["qwen3_head_dim", "qwen3_moe_norm_topk"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_checkpoints_are_read_exactly(folder, scratch, tmp_path, name, dtype):
    """Read into fp32, as transformers does when asked for fp32."""
    tiny_models.save(reference.load(folder(name)), tmp_path / "half", dtype=dtype)
    documents, labels = make_documents(131)
    theirs = reference.forward_backward(reference.load(tmp_path / "half"), documents, labels)
    assert_parity(dump(tmp_path / "half", documents, labels, scratch), theirs)
