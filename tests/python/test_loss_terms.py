"""What a model folder takes from a gradient: the row of pad_token_id. The reference is the loss that the model of
transformers returns, over the flattened batch in one forward. Tolerances as in test_parity.py and test_ranks.py.
"""
import pytest
import reference
import reviews
import tiny_models
import torch
from program import dump, train
from test_parity import assert_parity, make_documents
from test_ranks import assert_equal, dump_on
from test_training import USERS

PADDING = 5  # a token that texts of these models have
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


@pytest.mark.parametrize("options, times", [((), 1), (("--train_padding_row",), 0), (("--use_lora",), 0)])
def test_where_it_has_none_the_run_says_so(tmp_path, options, times):
    data = reviews.write_pipeline_json(tmp_path / "train.json", USERS)
    model = tiny_models.make_text_model(tmp_path / "model", pad_token_id=PADDING)
    done = train(model, data, tmp_path / "out", "--val_ratio", 0, "--max_steps", 1, *options)
    assert done.stderr.count(OF_PADDING) == times
