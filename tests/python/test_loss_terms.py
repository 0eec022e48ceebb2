"""What a model folder adds to the loss or takes from a gradient: output_router_logits with router_aux_loss_coef, and
the row of pad_token_id. The reference is the loss that the model of transformers returns, over the flattened batch in
one forward, and its Trainer. Tolerances as in test_parity.py and test_ranks.py.
"""
import pytest
import reference
import reviews
import tiny_models
import torch
from adapters import ATTENTION, load, make, module_gradients
from program import Result, dump, evaluations, metrics, train
from test_parity import assert_parity, assert_same_bits, make_documents
from test_ranks import assert_equal, dump_on
from test_ranks_training import train_on
from test_training import USERS

PADDING = 5  # a token that texts of these models have
BALANCE = {"output_router_logits": True, "router_aux_loss_coef": 0.7, "pad_token_id": PADDING}
MOE, MIXED = "qwen3_moe_norm_topk", "qwen3_moe_mixed_layers"
OF_PADDING = "pad_token_id 5: its embedding gets no gradient from texts that have the token, as in transformers"


def build(name, folder, **changes):
    config = tiny_models.CONFIGS[name]()
    for key, value in changes.items():
        setattr(config, key, value)
    return tiny_models.save(tiny_models.build(config), folder)


def texts(lengths=(37, 1, 5, 64, 2, 23)):
    documents, labels = make_documents(131, (3, 2, 3, *lengths), seed=8)
    documents, labels = documents[3:], labels[3:]
    for document, row in zip(documents, labels):
        if len(document) > 4:
            document[2] = row[2] = document[-1] = row[-1] = PADDING
    return documents, labels


# The balance of experts.

@pytest.fixture(scope="module")
def balanced(tmp_path_factory):
    """The folders of two mixtures of experts."""
    return {name: build(name, tmp_path_factory.mktemp(name) / "model", **BALANCE) for name in (MOE, MIXED)}


@pytest.mark.parametrize("lengths", [(37, 1, 5, 64, 2, 23), (211,)], ids=["packed", "single"])
@pytest.mark.parametrize("name", [MOE, MIXED])
def test_loss_and_gradients_are_those_of_transformers(balanced, scratch, name, lengths):
    documents, labels = texts(lengths)
    model = reference.load(balanced[name])
    theirs = reference.forward_backward_of_the_loss(model, documents, labels)
    assert_parity(dump(balanced[name], documents, labels, scratch), theirs)
    model.config.output_router_logits = False
    without = reference.forward_backward_of_the_loss(model, documents, labels)
    gate = "model.layers.1.mlp.gate.weight" if name == MOE else "model.layers.3.mlp.gate.weight"
    assert reference.relative_error(without.grads[gate], theirs.grads[gate]) > 1e-2


def test_what_is_recomputed_is_counted_once(balanced, scratch):
    documents, labels = texts()
    tiles = ("--mlp_tile", 16)
    kept = dump(balanced[MOE], documents, labels, scratch, *tiles)
    assert_same_bits(kept, dump(balanced[MOE], documents, labels, scratch, *tiles, "--keep", "none",
                                "--number_checkpoints", 2))
    evaluated = dump(balanced[MOE], documents, labels, scratch, *tiles, logits=False, grads=False)
    assert evaluated.loss_sum == pytest.approx(kept.loss_sum, rel=1e-6)
    theirs = reference.forward_backward_of_the_loss(reference.load(balanced[MOE]), documents, labels)
    assert_parity(kept, theirs)


@pytest.mark.parametrize("options", [(), ("--zero_stage", 3), ("--sequence_parallel_type", "ring")],
                         ids=["ulysses", "zero3", "ring"])
def test_ranks_of_a_sequence_balance_it_together(balanced, scratch, options):
    documents, labels = texts()
    one = dump(balanced[MOE], documents, labels, scratch, "--threads", 1)
    assert_equal(one, dump_on(2, balanced[MOE], documents, labels, scratch, *options))


def test_adapters_beside_a_frozen_router(balanced, tmp_path):
    documents, labels = texts()
    adapter = make(balanced[MOE], tmp_path / "adapter", ATTENTION)
    model = load(balanced[MOE], adapter, trainable=True)
    output, tokens = reference.one_forward(model, documents, labels)
    output.loss.backward()
    theirs = Result(output.loss.item() * tokens, tokens, output.logits[0].detach(), module_gradients(model, 1))
    ours = dump(balanced[MOE], documents, labels, tmp_path, "--adapter", adapter)
    assert_parity(ours, theirs)


# Training: a step of as many micro-batches as there are samples, against transformers' Trainer.

@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return reviews.write_pipeline_json(tmp_path_factory.mktemp("data") / "train.json", USERS)


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    return tiny_models.make_text_model(tmp_path_factory.mktemp("text") / "model", "qwen3_moe",
                                       **{**BALANCE, "router_aux_loss_coef": 0.05})


def trainers_step(model, samples, folder):
    """The line that transformers' Trainer logs of one step."""
    from transformers import Trainer, TrainingArguments, default_data_collator

    rows = [{"input_ids": ids, "labels": labels} for ids, labels in samples]
    arguments = TrainingArguments(
        output_dir=folder, max_steps=1, per_device_train_batch_size=1, gradient_accumulation_steps=len(rows),
        logging_steps=1, report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True, max_grad_norm=1e9)
    trainer = Trainer(model, arguments, train_dataset=rows, data_collator=default_data_collator)
    trainer.train()
    return trainer.state.log_history[0]


def load_of(model, documents):
    """(largest, least) number of tokens of an expert of a layer, 1 being as many as each would have in balance."""
    counts = 0
    for document in documents:
        gates = model(torch.tensor([document]), output_router_logits=True).router_logits
        chosen = [gate.topk(model.config.num_experts_per_tok).indices.flatten() for gate in gates]
        counts = counts + torch.stack([torch.bincount(layer, minlength=model.config.num_experts) for layer in chosen])
    even = counts.sum(1, keepdim=True) / counts.shape[1]
    return (counts / even).max().item(), (counts / even).min().item()


def test_each_micro_batch_of_a_step_adds_its_term(tmp_path, text_model, data):
    """On one rank, and on two of which one has a micro-batch less: what keeps it busy meanwhile counts nowhere."""
    samples = reviews.samples(USERS)
    assert len(samples) % 2 == 1
    theirs = trainers_step(reference.load(text_model), samples, tmp_path / "trainer")
    with torch.no_grad():
        most, least = load_of(reference.load(text_model), [ids for ids, _ in samples])
    options = ("--val_ratio", 0, "--packing", "off", "--max_steps", 1, "--logging_steps", 1, "--max_grad_norm", 0,
               "--gradient_accumulation_steps")
    done = train(text_model, data, tmp_path / "one", *options, len(samples))
    train_on(2, text_model, data, tmp_path / "two", *options, len(samples) // 2 + 1)
    for output in ("one", "two"):
        ours, = metrics(tmp_path / output)
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=2e-5)
        assert (ours["expert_load_max"], ours["expert_load_min"]) == pytest.approx((most, least), rel=1e-6)
    assert f"each of the {len(samples)} micro-batches of a step adds 0.05 (router_aux_loss_coef)" in done.stderr
    assert done.stderr.count(OF_PADDING) == 1


def test_evaluation_adds_the_mean_of_its_terms(tmp_path, text_model, data):
    """Without learning, training and evaluation together are the whole data's, each term by itself."""
    train(text_model, data, tmp_path / "out", "--val_ratio", 0.4, "--packing", "off", "--max_epochs", 1,
          "--learning_rate", 0, "--logging_steps", 1000)
    line, = metrics(tmp_path / "out")
    found = evaluations(tmp_path / "out")[0]
    samples = reviews.samples(USERS)
    model = reference.load(text_model)
    with torch.no_grad():
        outputs = [reference.one_forward(model, [ids], [labels]) for ids, labels in samples]
    aux = sum(output.aux_loss.item() for output, _ in outputs)
    entropy = sum((output.loss - 0.05 * output.aux_loss).item() * tokens for output, tokens in outputs)
    trained, validated = line["step"], len(samples) - line["step"]
    assert line["router_aux_loss"] * trained + found["router_aux_loss"] * validated == pytest.approx(aux, rel=1e-5)
    tokens = sum(count for _, count in outputs)
    both = [(part[key] - 0.05 * part["router_aux_loss"]) * count for part, key, count in (
        (line, "loss", tokens - found["eval_tokens"]), (found, "eval_loss", found["eval_tokens"]))]
    assert sum(both) == pytest.approx(entropy, rel=1e-5)


# The row of padding.

@pytest.mark.parametrize("name, row", [("llama_untied", PADDING), ("qwen2_tied_7to1", PADDING),
                                       ("qwen3_head_dim", PADDING - 131)])
def test_the_row_of_padding_has_no_gradient_from_the_tokens(scratch, tmp_path, name, row):
    """A tied head's gradient remains. Negative ids count from the end, as in torch."""
    folder = build(name, tmp_path / "model")
    tiny_models.edit_json(folder / "config.json", lambda config: config.update(pad_token_id=row))
    documents, labels = texts()
    model = reference.load(folder)
    assert model.model.embed_tokens.padding_idx == PADDING
    theirs = reference.forward_backward_of_the_loss(model, documents, labels)
    ours = dump(folder, documents, labels, scratch)
    assert_parity(ours, theirs)
    table = "model.embed_tokens.weight"
    assert bool(ours.grads[table][PADDING].any()) == ("untied" not in name)
    model.model.embed_tokens.padding_idx = None
    trained = dump(folder, documents, labels, scratch, "--train_padding_row")
    assert_parity(trained, reference.forward_backward_of_the_loss(model, documents, labels))
    assert not torch.equal(trained.grads[table][PADDING], ours.grads[table][PADDING])


def test_the_row_of_padding_on_ranks(scratch, tmp_path):
    folder = build("llama_untied", tmp_path / "model", pad_token_id=PADDING)
    documents, labels = texts()
    many = dump_on(2, folder, documents, labels, scratch, "--zero_stage", 3)
    assert_equal(dump(folder, documents, labels, scratch, "--threads", 1), many)
    assert not many.grads["model.embed_tokens.weight"][PADDING].any()


@pytest.mark.parametrize("options", [("--train_padding_row",), ("--use_lora",)])
def test_where_it_is_trained_or_frozen_nothing_is_said_of_it(tmp_path, data, text_model, options):
    done = train(text_model, data, tmp_path / "out", "--val_ratio", 0, "--max_steps", 1, *options)
    assert OF_PADDING not in done.stderr
