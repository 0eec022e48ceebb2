"""Who validates: seen through the losses of an epoch without learning, which tell the sets of samples apart, and
through `trireme generate`, which draws from the validation samples."""
import itertools
import re

import pytest
import reference
import reviews
import tiny_models
from program import evaluations, metrics, run, train
from reviews import Review

USERS = {f"用户{u}": [Review(f"影片{i}", f"{'看' * (u + 1)}{'好' * (i + 1)}。", f"201{i}-0{u + 1}-01") for i in range(4)]
         for u in range(4)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("split")


@pytest.fixture(scope="module")
def data(folder):
    return reviews.write_pipeline_json(folder / "train.json", USERS)


@pytest.fixture(scope="module")
def model(folder):
    return tiny_models.make_text_model(folder / "model")


@pytest.fixture(scope="module")
def losses(model):
    """{(user, review): (loss sum, trained tokens)} by the reference."""
    loaded = reference.load(model)
    with reference.torch.no_grad():
        found = [reference.document_loss(loaded, *sample)[:2] for sample in reviews.samples(USERS)]
    return {key: (loss.item(), count) for key, (loss, count) in zip(itertools.product(range(4), range(4)), found)}


def mean_loss(losses, keys):
    chosen = [losses[key] for key in keys]
    return sum(loss for loss, _ in chosen) / sum(count for _, count in chosen)


def losses_of_the_two_sets(model, data, output, *options):
    train(model, data, output, "--max_epochs", 1, "--learning_rate", 0, "--logging_steps", 1000, *options)
    line, = metrics(output)
    return line["loss"], evaluations(output)[-1]["eval_loss"]


# 1e-5 of the loss is rounding; the losses of any two of these sets differ by more than 1e-3 of it.

def test_by_time_the_last_review_of_each_user_validates(tmp_path, model, data, losses):
    trained, validated = losses_of_the_two_sets(model, data, tmp_path / "out", "--val_ratio", 0.25)
    assert validated == pytest.approx(mean_loss(losses, [(user, 3) for user in range(4)]), rel=1e-5)
    assert trained == pytest.approx(mean_loss(losses, [key for key in losses if key[1] < 3]), rel=1e-5)


def test_by_user_no_user_is_on_both_sides(tmp_path, model, data, losses):
    found = set()
    for seed in range(4):
        trained, validated = losses_of_the_two_sets(model, data, tmp_path / f"out{seed}", "--val_ratio", 0.25,
                                                    "--split", "user", "--sample_seed", seed)
        user, = [user for user in range(4) if validated == pytest.approx(
            mean_loss(losses, [(user, review) for review in range(4)]), rel=1e-5)]
        assert trained == pytest.approx(mean_loss(losses, [key for key in losses if key[0] != user]), rel=1e-5)
        found.add(user)
    assert len(found) > 1  # the seed decides


def test_of_the_chosen_samples_the_last_validate(tmp_path, model, data, losses):
    trained, validated = losses_of_the_two_sets(model, data, tmp_path / "out", "--val_ratio", 0.5,
                                                "--max_samples_per_user", 2)
    assert validated == pytest.approx(mean_loss(losses, [(user, 3) for user in range(4)]), rel=1e-5)
    assert trained == pytest.approx(mean_loss(losses, [(user, 2) for user in range(4)]), rel=1e-5)


def test_generate_draws_validation_samples(model, data):
    drawn = set()
    for seed in range(5):
        done = run("generate", "--model", model, "--data_file", data, "--val_ratio", 0.25, "--seed", seed,
                   "--max_new_tokens", 1, "--threads", 1)
        user, film, earlier = re.search(r"user (\S+), film (\S+), (\d+) earlier reviews", done.stderr).groups()
        assert (film, earlier) == ("影片3", "3")
        drawn.add(user)
    assert len(drawn) > 1
