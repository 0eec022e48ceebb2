"""Training on several ranks, processes that meet over Gloo, against one: losses, norms, weights, and what is written.

Ranks sum in fp32 in another order, which leaves about 1e-8 in an element of a gradient whose norm is clipped to 1. Adam
with its usual epsilon divides by the gradient's own size: an element whose true gradient is zero then takes whole steps in
the direction of its rounding. ADAM's epsilon is 1e-4, a twentieth of the root mean square of these gradients: most steps are
Adam's all the same, and rounding moves a weight by 1e-4 of a step at most. So losses and norms are compared to 1e-5, and
each weight to 1e-4 of what training changed in its tensor. Measured: 6e-7, 4e-7 and 1e-5, which is the rounding of weights
of size 1 that move by 0.01. A gradient that is 1 % too large shows in all three.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import reviews
import tiny_models
import torch
from program import binary, evaluations, metric_lines, metrics, train
from safetensors.torch import load_file
from test_ranks import free_port, launched
from test_run import USERS

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEEPSPEED = ROOT / "tests" / "data" / "deepspeed"
ADAM = ("--learning_rate", 1e-3, "--adam_epsilon", 1e-4)
# 15 training samples and 5 validation samples; 8 steps an epoch, the last with one sample.
STEPS = ("--val_ratio", 0.25, "--packing", "off", "--logging_steps", 1, "--save_steps", 3, "--max_epochs", 2, *ADAM)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def data(folder):
    return reviews.write_pipeline_json(folder / "train.json", USERS)


@pytest.fixture(scope="module")
def models(folder):
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = tiny_models.make_text_model(folder / kind, kind)
        return made[kind]

    return get


def command(model, data, output, *options):
    return ["train", "--model", str(model), "--data_file", str(data), "--output_dir", str(output), "--threads", "1",
            *map(str, options)]


def train_on(ranks, model, data, output, *options, expect=0):
    """One process a rank, as a launcher starts them; returns the standard error of each."""
    port = free_port()
    started = [subprocess.Popen([binary(), *command(model, data, output, *options)], env=launched(ranks, rank, port),
                                text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for rank in range(ranks)]
    errors = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [expect] * ranks, errors
    return errors


def weights(folder):
    return {name: tensor.double() for file in sorted(folder.glob("*.safetensors"))
            for name, tensor in load_file(file).items()}


def names_below(folder):
    """All names, but those of the ranks' own files in checkpoints."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.parent.name != "state"}


def assert_same_training(one, many, start=None):
    for ours, theirs in zip(metrics(many), metrics(one), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-5)
        assert (ours["tokens"], ours["learning_rate"]) == (theirs["tokens"], theirs["learning_rate"])
    for ours, theirs in zip(evaluations(many), evaluations(one), strict=True):
        assert ours["eval_loss"] == pytest.approx(theirs["eval_loss"], rel=1e-5)
        assert (ours["eval_tokens"], ours["best"]) == (theirs["eval_tokens"], theirs["best"])
    assert names_below(many) == names_below(one)
    before = weights(start) if start else {}
    for place in (one, *sorted(one.glob("checkpoint-*"))):
        expected, found = weights(place), weights(many / place.relative_to(one))
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            change = tensor - before.get(name, torch.zeros_like(tensor))
            assert (found[name] - tensor).norm() <= 1e-4 * change.norm() + 1e-9, f"{place.name}: {name}"


def twice(models, data, tmp_path, kind, ranks, one_rank, each_rank, *options):
    """On one rank with the options one_rank and on several with each_rank."""
    train(models(kind), data, tmp_path / "one", *STEPS, *options, *one_rank)
    errors = train_on(ranks, models(kind), data, tmp_path / "many", *STEPS, *options, *each_rank)
    assert errors[1:] == [""] * (ranks - 1)  # the first tells
    return tmp_path / "one", tmp_path / "many"


@pytest.mark.parametrize("kind", ["qwen3", "qwen3_moe"])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_ranks_with_sequences_of_their_own(tmp_path, models, data, kind, stage):
    one, many = twice(models, data, tmp_path, kind, 2, ("--batch_size", 2), ("--batch_size", 1),
                      "--zero_stage", stage)
    assert_same_training(one, many, models(kind))
    ranks = json.loads((many / "run.json").read_text())["ranks"]
    assert ranks == {"ranks": 2, "data": 2, "ring": 1, "ulysses": 1, "zero_stage": stage}


@pytest.mark.parametrize("kind", ["qwen3", "qwen3_moe"])
@pytest.mark.parametrize("stage", [1, 3])
def test_two_ranks_that_share_each_sequence(tmp_path, models, data, kind, stage):
    one, many = twice(models, data, tmp_path, kind, 2, (), ("--sequence_parallel_size", 2), "--batch_size", 2,
                      "--zero_stage", stage)
    assert_same_training(one, many, models(kind))


def test_four_ranks_two_by_two_with_accumulation(tmp_path, models, data):
    """Three micro-batches a rank; the last step of an epoch has fewer, and one rank none in its last pass."""
    one, many = twice(models, data, tmp_path, "qwen3", 4, ("--gradient_accumulation_steps", 6),
                      ("--gradient_accumulation_steps", 3, "--sequence_parallel_size", 2), "--batch_size", 1,
                      "--zero_stage", 2)
    assert_same_training(one, many, models("qwen3"))


@pytest.mark.parametrize("kind,ring,ulysses", [("qwen3_moe", 2, 1), ("qwen3", 2, 2)])
def test_ranks_that_share_each_sequence_as_a_ring(tmp_path, models, data, kind, ring, ulysses):
    one, many = twice(models, data, tmp_path, kind, ring * ulysses, (),
                      ("--sequence_parallel_type", "hybrid", "--ulysses_size", ulysses, "--sequence_parallel_size",
                       ring * ulysses), "--batch_size", 2, "--zero_stage", 3)
    assert_same_training(one, many, models(kind))
    ranks = json.loads((many / "run.json").read_text())["ranks"]
    assert (ranks["ring"], ranks["ulysses"]) == (ring, ulysses)


def test_a_length_of_a_million_tokens(tmp_path, models, data):
    """Every sample is in one batch, and a ring of two has parts of it; bench/million_tokens.py fills one."""
    options = ("--max_length", 1 << 20, "--packing", "on", "--max_steps", 1, "--val_ratio", 0, "--logging_steps", 1, *ADAM)
    train(models("qwen3"), data, tmp_path / "one", *options)
    train_on(2, models("qwen3"), data, tmp_path / "many", *options, "--sequence_parallel_size", 2,
             "--sequence_parallel_type", "ring")
    assert_same_training(tmp_path / "one", tmp_path / "many", models("qwen3"))


@pytest.mark.parametrize("offload", ["none", "cpu"])
def test_adapters_beside_a_sharded_base(tmp_path, models, data, offload):
    lora = ("--use_lora", "--lora_r", 4, "--lora_alpha", 8, "--lora_dropout", 0, "--target_modules", "all-linear",
            "--zero_stage", 3, "--offload_param", offload)
    one, many = twice(models, data, tmp_path, "qwen3_moe", 2, ("--batch_size", 2), ("--batch_size", 1), *lora)
    assert_same_training(one, many)


def test_the_optimizer_in_backward(tmp_path, models, data):
    one, many = twice(models, data, tmp_path, "qwen3", 2, ("--batch_size", 2), ("--batch_size", 1),
                      "--optimizer_in_backward", "true", "--zero_stage", 3)
    assert_same_training(one, many, models("qwen3"))


def test_memory_falls_with_the_ranks(tmp_path, models, data):
    """What ZeRO-3 shards is a share of one rank's, up to what makes shards equal."""
    def rows(output):
        return {row["name"]: row["bytes"] for row in json.loads((output / "run.json").read_text())["memory"]}

    options = ("--max_steps", 1, "--val_ratio", 0, "--zero_stage", 3)
    train(models("qwen3"), data, tmp_path / "1", *options)
    one = rows(tmp_path / "1")
    for ranks in (2, 4):
        train_on(ranks, models("qwen3"), data, tmp_path / str(ranks), *options)
        many = rows(tmp_path / str(ranks))
        for name in ("weights", "gradients", "Adam moments"):
            assert one[name] / ranks <= many[name] <= 1.02 * one[name] / ranks, name


def test_an_interrupt_of_one_rank_saves_once_and_ends_all(tmp_path, models, data):
    port = free_port()
    started = [subprocess.Popen([binary(), *command(models("qwen3"), data, tmp_path / "out", "--max_steps", 100000,
                                                    "--val_ratio", 0, "--logging_steps", 1)],
                                env=launched(2, rank, port), stderr=subprocess.PIPE, text=True) for rank in range(2)]
    deadline = time.time() + 60
    while time.time() < deadline and not ((tmp_path / "out" / "metrics.jsonl").exists() and
                                          metric_lines(tmp_path / "out")):
        time.sleep(0.05)
    started[1].send_signal(signal.SIGINT)
    errors = [process.communicate(timeout=60)[1] for process in started]
    assert [process.returncode for process in started] == [128 + signal.SIGINT] * 2, errors
    assert "interrupted: saved" in errors[0] and "interrupted" not in errors[1]
    assert len(list((tmp_path / "out").glob("checkpoint-*"))) == 1


# As users start it.

def torchrun(ranks, place, *arguments, expect=0):
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(ranks),
                           "--master_port", str(free_port()), *map(str, arguments)], cwd=place, capture_output=True,
                          text=True, timeout=300, env={**os.environ, "TRIREME": binary()})
    assert (done.returncode == 0) == (expect == 0), done.stderr[-3000:]
    return done.stderr


@pytest.mark.parametrize("name,ulysses", [("ds_config_zero3_optimized", 1), ("ds_config_zero3_ulysses", 2)])
def test_the_users_deepspeed_files_on_two_ranks(tmp_path, models, data, name, ulysses):
    """Unchanged but for the size 8, which is 2 here."""
    text = (DEEPSPEED / f"{name}.json").read_text()
    assert ('"size": 8' in text) == (ulysses == 2)
    (tmp_path / "ds.json").write_text(text.replace('"size": 8', '"size": 2'))
    log = torchrun(2, tmp_path, "--no-python", binary(), *command(models("qwen3_moe"), data, tmp_path / "out", *STEPS,
                                                                  "--deepspeed", "ds.json"))
    assert f"2 ranks: {2 // ulysses} with sequences of their own x {ulysses} that share each; ZeRO stage 3" in log
    train(models("qwen3_moe"), data, tmp_path / "one", *STEPS, "--batch_size", 2 // ulysses)
    assert_same_training(tmp_path / "one", tmp_path / "out", models("qwen3_moe"))


def test_the_degree_of_an_unmodified_file_is_explained_or_overridden(tmp_path, models, data):
    options = ("--deepspeed", DEEPSPEED / "ds_config_zero3_ulysses.json", "--max_steps", 1)
    errors = train_on(2, models("qwen3"), data, tmp_path / "out", *options, expect=2)
    assert ("sequence_parallel.size: 8 does not divide the 2 ranks of this run (WORLD_SIZE): start with 8 ranks"
            in errors[0])
    errors = train_on(2, models("qwen3"), data, tmp_path / "out", *options, "--sequence_parallel_size", 2)
    assert "sequence_parallel.size = 8: --sequence_parallel_size was given" in errors[0]


def test_the_original_script_under_torchrun(tmp_path, models, data):
    log = torchrun(2, tmp_path, ROOT / "train_distributed_MovieReview.py",
                   *command(models("qwen3"), data, tmp_path / "out", *STEPS)[1:])
    assert "the model: " in log and (tmp_path / "out" / "model.safetensors").exists()
