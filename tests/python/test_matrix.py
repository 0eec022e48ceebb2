"""The matrix of what a model folder and an adapter can ask for, and of the ways in which a batch is computed: every rope
type, kind of adapter and fault of stored folders, packed and single, on one rank, Ulysses of two and a ring of two, each
against transformers or PEFT. `./dev test` runs a covering set, in which each row and each way stands at least once, and
`./dev check matrix` all of it, with a line on the worst deviations.

Tolerances as in test_parity.py: logits 1e-4, loss 1e-5, each gradient 1e-4 of its norm.
"""
import functools
import itertools
import os
import shutil

import adapters
import float8
import pytest
import reference
import test_adapter_kinds
import test_loss_terms
import test_model_folder
import test_rope
import tiny_models
from program import dump
from test_parity import make_documents
from test_ranks import dump_on

BATCHES = {"packed": (37, 1, 5, 64, 2, 23), "single": (91,)}
RANKS = {"one": (), "ulysses": ("--sequence_parallel_type", "ulysses"), "ring": ("--sequence_parallel_type", "ring")}
WAYS = list(itertools.product(BATCHES, RANKS))
WHOLE = "TRIREME_WHOLE_MATRIX" in os.environ


def rope(name):
    def make(folder):
        tiny_models.save(tiny_models.build(test_rope.MODELS[name]()), folder)
        return (), lambda: test_rope.load(folder), reference.forward_backward
    return make


def adapter(base, fields):
    def make(folder):
        tiny_models.make(base, folder)
        path = folder.parent / "adapter"
        model = adapters.train_kind(folder, path, r=3, lora_alpha=5, **fields)
        return ("--adapter", path), lambda: model, adapters.forward_backward
    return make


def stored(change, base="qwen3_head_dim", load=reference.load):
    """A folder whose tensors `change` edits; `load` reads the folder, or that before the change."""
    def make(folder):
        plain = tiny_models.make(base, folder.parent / "plain")
        test_model_folder.changed(plain, folder, change)
        return (), lambda: load(folder), reference.forward_backward
    return make


def renamed(change, base):
    """Names that transformers does not read: it reads the same tensors under their own."""
    return stored(change, base, lambda folder: reference.load(folder.parent / "plain"))


def asked(base, **changes):
    """Terms of the loss, and rows without gradient, that config.json asks for."""
    def make(folder):
        test_loss_terms.build(base, folder, **changes)
        return (), lambda: reference.load(folder), reference.forward_backward_of_the_loss
    return make


def beside(folder):
    """An adapter in the folder of its model: frozen weights and adapters as PEFT has them."""
    tiny_models.make("qwen3_head_dim", folder)
    adapter = adapters.make(folder, folder.parent / "adapter", adapters.ATTENTION)
    model = adapters.load(folder, adapter, trainable=True)
    for file in adapter.iterdir():
        shutil.copy(file, folder)
    return (), lambda: model, adapters.forward_backward


def float8_blocks(folder):
    test_model_folder.make_float8(folder, "qwen3", test_model_folder.WHOLE)
    return (), lambda: reference.load(folder), reference.forward_backward


BEHIND = test_model_folder.behind
ROWS = {
    "rope default": asked("llama_untied"),
    **{f"rope {name}": rope(name) for name in test_rope.MODELS},
    "adapter plain": adapter("qwen3_head_dim", {"target_modules": test_adapter_kinds.ALL}),
    "adapter rslora": adapter("qwen3_head_dim", {"target_modules": test_adapter_kinds.ALL, "use_rslora": True}),
    **{f"adapter {name}": adapter(*kind) for name, kind in test_adapter_kinds.KINDS.items()},
    "own head beside tie": stored(test_model_folder.with_head),
    "head alone of a tie": stored(test_model_folder.with_head_only),
    "names without model": renamed(BEHIND(""), "qwen3_head_dim"),
    "names behind _orig_mod": renamed(BEHIND("_orig_mod.model.", "_orig_mod."), "llama_untied"),
    "names behind module": renamed(BEHIND("module.model.", "module."), "qwen2_untied"),
    "router loss": asked("qwen3_moe_norm_topk", **test_loss_terms.BALANCE),
    "router loss, mixed layers": asked("qwen3_moe_mixed_layers", num_attention_heads=6, num_key_value_heads=2,
                                       **test_loss_terms.BALANCE),
    "padding row": asked("llama_untied", pad_token_id=test_loss_terms.PADDING),
    "padding row, tied": asked("qwen3_head_dim", pad_token_id=test_loss_terms.PADDING),
    "adapter beside a model": beside,
    "float8": float8_blocks,
}


def cases():
    """(row, batch, ranks): all, or the rows with the ways taken in turn."""
    if WHOLE:
        return [(row, *way) for row in ROWS for way in WAYS]
    return [(row, *WAYS[i % len(WAYS)]) for i, row in enumerate(ROWS)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """made(row): the folder, the options that go with it, and the reference's result of each batch; made once."""
    @functools.cache
    def make(row):
        folder = tmp_path_factory.mktemp("row") / "model"
        options, load, forward_backward = ROWS[row](folder)

        @functools.cache
        def theirs(batch):
            return forward_backward(load(), *documents_of(folder, batch))
        return folder, options, theirs
    return make


def documents_of(folder, batch):
    """With the token of padding in it, which is a token like any other to models that have none."""
    vocab = test_model_folder.config_of(folder)["vocab_size"]
    documents, labels = make_documents(vocab, (3, 2, 3, *BATCHES[batch]), seed=8)
    documents, labels = documents[3:], labels[3:]
    for document, row in zip(documents, labels):
        if len(document) > 4:
            document[2] = row[2] = document[-1] = row[-1] = test_loss_terms.PADDING
    return documents, labels


@pytest.fixture(scope="module")
def worst():
    """The largest deviations of all cases, printed at the end."""
    found = {"logits": (0, ""), "loss": (0, ""), "gradient": (0, "")}
    yield found
    print("\nworst deviations:", "; ".join(f"{what} {value:.1e} ({case})" for what, (value, case) in found.items()))


@pytest.mark.parametrize("row, batch, ranks", cases())
def test_matrix(made, scratch, worst, row, batch, ranks):
    folder, options, theirs = made(row)
    theirs = theirs(batch)
    documents, labels = documents_of(folder, batch)
    if ranks == "one":
        ours = dump(folder, documents, labels, scratch, "--threads", 1, *options)
    else:
        ours = dump_on(2, folder, documents, labels, scratch, *RANKS[ranks], *options)
    assert ours.tokens == theirs.tokens
    errors = reference.gradient_errors(ours.grads, theirs.grads)
    found = {"logits": (ours.logits - theirs.logits).abs().max().item(),
             "loss": abs(ours.loss_sum - theirs.loss_sum) / theirs.loss_sum, "gradient": max(errors.values())}
    for what, value in found.items():
        worst[what] = max(worst[what], (value, f"{row}, {batch}, {ranks}"))
    assert found["logits"] <= 1e-4 and found["loss"] <= 1e-5, found
    assert found["gradient"] <= 1e-4, max(errors, key=errors.get)
