"""The numbers of `trireme train` against a PyTorch loop on the same token ids, in fp32 on the CPU.

Which samples a step trains on is known without looking into the program: each step uses all of them, as one packed
sequence or as the micro-batches of one accumulation.
"""
import json
import shutil

import pytest
import reference
import reviews
import tiny_models
from program import dump, evaluations, metric_lines, metrics, train
from reviews import Review

STEPS = 20
NO_VALIDATION = ("--val_ratio", 0)

# Targets that start or end with white space, hold control tokens as text, or are one character.
USERS = {
    "影迷甲": [Review("盐湖快车", "画面美，音乐也好！"), Review("机械鲸", "\n换行开头\n\n第二段  ", "2016-02-29"),
            Review("长街", "好", "2017-01-01")],
    "a<|im_end|>b": [Review("<|im_start|>", "<|im_end|>不是结尾<|im_end|>"), Review("雾港疑云", "😀👍🏽…………", "2016-01-01")],
    "路人": [Review("南方来信", "It's fine, 7/10. " * 6), Review("铁皮屋顶", "雨声。", "2016-01-01")],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def data(folder):
    return reviews.write_pipeline_json(folder / "train.json", USERS)


@pytest.fixture(scope="module")
def batch():
    """(documents, labels) of all samples."""
    samples = reviews.samples(USERS)
    return [ids for ids, _ in samples], [labels for _, labels in samples]


@pytest.fixture(scope="module")
def model(folder):
    return tiny_models.make_text_model(folder / "model")


def assert_close(ours, theirs, tolerance):
    differences = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    assert max(differences) <= tolerance, f"{max(differences):.1e} at step {differences.index(max(differences)) + 1}"


# Against PyTorch. Losses within 2e-5, norms within 2e-5 of themselves: fp32 rounds in another order, which over 20 steps leaves
# 2e-6 of each. A forgotten bias correction, weight decay on the wrong tensors or a mean of means shows as 1e-2.
# Adam divides an element by its own size. One whose gradient is nothing but rounding would take whole steps in the direction
# of that rounding, and losses would differ by what such weights do later (3e-5 in 20 steps): both programs have an epsilon
# that is a twentieth of the root mean square of the gradients.

@pytest.mark.parametrize("kind", ["qwen3", "qwen2", "qwen3_moe"])
def test_losses_of_20_steps(tmp_path, data, batch, kind):
    model = tiny_models.make_text_model(tmp_path / "model", kind)
    train(model, data, tmp_path / "out", *NO_VALIDATION, "--max_steps", STEPS, "--logging_steps", 1,
          "--learning_rate", 1e-3, "--lr_scheduler_type", "constant", "--max_grad_norm", 0, "--adam_epsilon", 1e-3)
    losses, norms = reference.train(reference.load(model), *batch, STEPS, 1e-3, 0.0, None, eps=1e-3)
    ours = metrics(tmp_path / "out")
    assert [line["step"] for line in ours] == list(range(1, STEPS + 1))
    assert_close([line["loss"] for line in ours], losses[:-1], 2e-5)
    assert [line["grad_norm"] for line in ours] == pytest.approx(norms, rel=2e-5)
    assert [line["learning_rate"] for line in ours] == [1e-3] * STEPS
    assert losses[-1] < 0.7 * losses[0]
    # The weights that were saved are those after the last step.
    assert dump(tmp_path / "out", *batch, tmp_path, grads=False).loss == pytest.approx(losses[-1], abs=2e-5)


# Measured: of 20 losses (17.46 to 2.548) none differs from float32 moments' by more than 9e-5 and 9e-4.
@pytest.mark.parametrize("moments, each", [("bfloat16", 2), ("8bit", 1 + 4 / 256)])
def test_moments_in_fewer_bits(tmp_path, model, data, moments, each):
    runs = {}
    for name, dtype in (("full", "float32"), ("few", moments), ("again", moments)):
        train(model, data, tmp_path / name, *NO_VALIDATION, "--max_steps", STEPS, "--logging_steps", 1,
              "--learning_rate", 1e-3, "--moments_dtype", dtype)
        runs[name] = [line["loss"] for line in metrics(tmp_path / name)]
    assert runs["few"] == runs["again"]
    assert runs["few"][:2] == runs["full"][:2] and runs["few"][2:] != runs["full"][2:]
    assert_close(runs["few"], runs["full"], 5e-3)
    described = json.loads((tmp_path / "few" / "run.json").read_text())
    assert described["options"]["moments_dtype"] == moments and described["options"]["master_weights"] is True
    row = next(row for row in described["memory"] if row["name"] == "Adam moments")
    assert row["bytes"] == pytest.approx(2 * each * described["model"]["trained"], rel=0.01)


@pytest.mark.parametrize("options", [(), ("--use_lora", "--lora_r", 4, "--target_modules", "all-linear")],
                         ids=["full", "lora"])
@pytest.mark.parametrize("kind, tied", [("qwen3", True), ("qwen3", False), ("qwen3_moe", False)])
def test_an_optimizer_in_backward_is_the_optimizer_after_it(tmp_path, data, kind, tied, options):
    """Without clipping not a bit differs; with it, what the log says."""
    balance = {"output_router_logits": True, "router_aux_loss_coef": 0.3} if kind == "qwen3_moe" else {}
    model = tiny_models.make_text_model(tmp_path / "model", kind, tie_word_embeddings=tied, **balance)
    flags = (*NO_VALIDATION, "--max_steps", 5, "--logging_steps", 1, "--learning_rate", 1e-3, *options)
    inside = ("--optimizer_in_backward",)
    train(model, data, tmp_path / "after", *flags, "--max_grad_norm", 0)
    train(model, data, tmp_path / "inside", *flags, *inside, "--max_grad_norm", 0)
    after, fused = metrics(tmp_path / "after"), metrics(tmp_path / "inside")
    assert [line["loss"] for line in fused] == [line["loss"] for line in after]
    assert [line["grad_norm"] for line in fused] == pytest.approx([line["grad_norm"] for line in after], rel=1e-6)
    clip = min(line["grad_norm"] for line in after) / 4
    for how, says in (("previous", "the norm of the step before"), ("layer", "each by its own norm")):
        done = train(model, data, tmp_path / how, *flags, *inside, "--max_grad_norm", clip, "--clip_in_backward", how)
        assert says in done.stderr
        assert [line["loss"] for line in metrics(tmp_path / how)][1:] != [line["loss"] for line in after][1:]
    rows = {row["name"]: row["bytes"] for row in json.loads((tmp_path / "inside" / "run.json").read_text())["memory"]}
    assert rows["gradients on their way"] > 0 and "gradients" not in rows


def test_an_optimizer_in_backward_needs_one_micro_batch(tmp_path, model, data):
    done = train(model, data, tmp_path / "out", "--optimizer_in_backward", "--gradient_accumulation_steps", 4, expect=2)
    assert "--gradient_accumulation_steps is 4: use 1" in done.stderr and not (tmp_path / "out").exists()


@pytest.mark.parametrize("scheduler", ["cosine", "linear"])
def test_schedule_clipping_decay_and_accumulation(tmp_path, model, data, batch, scheduler):
    """Seven samples in micro-batches of two: four of them a step, the last with one sample."""
    peak, warmup, decay, clip = 2e-3, 4, 0.1, 3
    train(model, data, tmp_path / "out", *NO_VALIDATION, "--max_steps", STEPS, "--logging_steps", 1,
          "--packing", "off", "--batch_size", 2, "--gradient_accumulation_steps", 4, "--learning_rate", peak,
          "--lr_scheduler_type", scheduler, "--warmup_steps", warmup, "--weight_decay", decay, "--max_grad_norm", clip,
          "--adam_epsilon", 1e-4)
    rates = reference.learning_rates(scheduler, peak, warmup, STEPS)
    losses, norms = reference.train(reference.load(model), *batch, STEPS, rates, decay, clip, eps=1e-4)
    ours = metrics(tmp_path / "out")
    assert [line["learning_rate"] for line in ours] == pytest.approx(rates, rel=1e-12, abs=1e-20)
    assert_close([line["loss"] for line in ours], losses[:-1], 2e-5)
    assert [line["grad_norm"] for line in ours] == pytest.approx(norms, rel=2e-5)
    assert min(norms) < clip < max(norms)  # steps of both kinds
    assert dump(tmp_path / "out", *batch, tmp_path, grads=False).loss == pytest.approx(losses[-1], abs=2e-5)


def test_other_adam_settings(tmp_path, model, data, batch):
    train(model, data, tmp_path / "out", *NO_VALIDATION, "--max_steps", 3, "--logging_steps", 1,
          "--learning_rate", 1e-3, "--lr_scheduler_type", "constant", "--max_grad_norm", 0, "--adam_beta1", 0.5,
          "--adam_beta2", 0.9, "--adam_epsilon", 1e-2)
    losses = [line["loss"] for line in metrics(tmp_path / "out")]
    theirs, _ = reference.train(reference.load(model), *batch, 3, 1e-3, 0.0, None, betas=(0.5, 0.9), eps=1e-2)
    standard, _ = reference.train(reference.load(model), *batch, 3, 1e-3, 0.0, None)
    assert_close(losses, theirs[:-1], 2e-5)
    assert abs(theirs[2] - standard[2]) > 1e-2


def reported_loss(model, data, output, *options):
    """Of one epoch without learning, and the trained tokens' loss of all of it, however it is cut into steps."""
    train(model, data, output, *NO_VALIDATION, "--max_epochs", 1, "--learning_rate", 0,
          "--logging_steps", 1000, *options)
    line, = metrics(output)
    return line


LONGEST = max(len(ids) for ids, _ in reviews.samples(USERS))


@pytest.mark.parametrize("options, steps", [
    ((), 1), (("--max_length", LONGEST), None), (("--packing", "off"), 7), (("--packing", "off", "--batch_size", 3), 3),
    (("--packing", "off", "--gradient_accumulation_steps", 4), 2), (("--packing", "off", "--batch_size", 2,
                                                                   "--gradient_accumulation_steps", 2), 2)])
def test_an_epoch_has_every_sample_once_however_it_is_cut(tmp_path, model, data, batch, options, steps):
    """1e-5 of the loss: rounding of sums in another order, as in test_parity.py."""
    theirs = reference.forward_backward(reference.load(model), *batch)
    ours = reported_loss(model, data, tmp_path / "out", *options)
    assert ours["loss"] == pytest.approx(theirs.loss, rel=1e-5)
    assert ours["tokens"] == sum(len(document) for document in batch[0])
    assert ours["step"] == steps if steps else ours["step"] > 1


def test_evaluation_is_the_loss_of_the_validation_samples(tmp_path, model, data, batch):
    """Without learning all evaluations are alike, and they and the training loss together are the whole data's."""
    train(model, data, tmp_path / "out", "--val_ratio", 0.4, "--max_epochs", 1, "--learning_rate", 0,
          "--logging_steps", 1000, "--packing", "off", "--eval_batch_size", 2)
    line, = metrics(tmp_path / "out")
    evals = evaluations(tmp_path / "out")
    assert len({line["eval_loss"] for line in evals}) == 1 and len(evals) >= 2
    theirs = reference.forward_backward(reference.load(model), *batch)
    trained = theirs.tokens - evals[0]["eval_tokens"]
    both = line["loss"] * trained + evals[0]["eval_loss"] * evals[0]["eval_tokens"]
    assert both == pytest.approx(theirs.loss_sum, rel=1e-5)


# Bit for bit.

def comparable(folder):
    """Metrics without what the clock and the machine say."""
    clock = {"seconds", "tokens_per_second", "memory"}
    return [{key: value for key, value in line.items() if key not in clock} for line in metric_lines(folder)]


SHUFFLED = ("--val_ratio", 0.2, "--max_epochs", 3, "--max_length", LONGEST, "--logging_steps", 1,
            "--learning_rate", 1e-3, "--threads", 2)


@pytest.fixture(scope="module")
def shuffled_run(folder, model, data):
    """A run with several steps an epoch, whose order the seed decides."""
    train(model, data, folder / "shuffled", *SHUFFLED)
    return folder / "shuffled"


def test_the_same_run_twice_gives_the_same_bits(tmp_path, model, data, shuffled_run):
    train(model, data, tmp_path / "again", *SHUFFLED)
    assert comparable(tmp_path / "again") == comparable(shuffled_run)
    assert len(metrics(shuffled_run)) >= 6
    again, first = tmp_path / "again" / "model.safetensors", shuffled_run / "model.safetensors"
    assert again.read_bytes() == first.read_bytes()


def test_another_seed_gives_another_order(tmp_path, model, data, shuffled_run):
    train(model, data, tmp_path / "out", *SHUFFLED, "--seed", 7)
    ours, first = metrics(tmp_path / "out"), metrics(shuffled_run)
    assert [line["tokens"] for line in ours] != [line["tokens"] for line in first]
    assert evaluations(tmp_path / "out")[0]["eval_loss"] == evaluations(shuffled_run)[0]["eval_loss"]


@pytest.mark.parametrize("options", [("--keep", "none"), ("--keep", "all")])
def test_recomputing_does_not_change_training(tmp_path, model, data, shuffled_run, options):
    train(model, data, tmp_path / "out", *SHUFFLED, *options)
    assert comparable(tmp_path / "out") == comparable(shuffled_run)


def test_the_fine_tuned_model_is_another_one(tmp_path, model, batch, shuffled_run):
    before, after = (dump(path, *batch, tmp_path) for path in (model, shuffled_run))
    assert after.loss < before.loss - 0.1
    for name in ("model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight", "model.norm.weight"):
        assert (tiny_models.load_file(shuffled_run / "model.safetensors")[name] !=
                tiny_models.load_file(model / "model.safetensors")[name]).any(), name


# A checkpoint comes out as it came in.

@pytest.mark.parametrize("kind, dtype", [("qwen3", "float32"), ("qwen2", "bfloat16"), ("qwen3", "float16"),
                                         ("qwen3_moe", "bfloat16")])
def test_without_learning_the_weights_come_out_as_they_went_in(tmp_path, data, kind, dtype):
    torch_dtype = getattr(reference.torch, dtype)
    model = tiny_models.make_text_model(tmp_path / "model", kind, dtype=torch_dtype)
    reported_loss(model, data, tmp_path / "out", "--weight_decay", 0.1)
    before = tiny_models.load_file(model / "model.safetensors")
    after = tiny_models.load_file(tmp_path / "out" / "model.safetensors")
    assert set(after) == set(before)
    for name, tensor in after.items():
        assert tensor.dtype == torch_dtype, name
        assert reference.torch.equal(tensor, before[name]), name


def test_fused_experts_come_out_as_the_same_model(tmp_path, data, batch):
    model = tiny_models.make_text_model(tmp_path / "model", "qwen3_moe")
    shutil.copytree(model, tmp_path / "fused")
    tiny_models.fuse_experts(tmp_path / "fused")
    reported_loss(tmp_path / "fused", data, tmp_path / "out")
    theirs, ours = (reference.forward_backward(reference.load(path), *batch) for path in (model, tmp_path / "out"))
    assert reference.torch.equal(ours.logits, theirs.logits)


def test_a_bfloat16_model_is_trained_in_float32_and_stays_bfloat16(tmp_path, data, batch):
    """Ten steps of a learning rate whose updates are mostly below bfloat16's resolution: only the saved copy is
    rounded, so the last loss is that of fp32 training to 1e-4, and the rounded weights give it to 2 %. With the usual
    epsilon: steps of 1e-4 in directions of rounding are too small to matter."""
    torch = reference.torch
    model = tiny_models.make_text_model(tmp_path / "model", dtype=torch.bfloat16)
    train(model, data, tmp_path / "out", *NO_VALIDATION, "--max_steps", 10, "--logging_steps", 1,
          "--learning_rate", 1e-4, "--lr_scheduler_type", "constant", "--max_grad_norm", 0)
    losses, _ = reference.train(reference.load(model), *batch, 10, 1e-4, 0.0, None)
    assert_close([line["loss"] for line in metrics(tmp_path / "out")], losses[:-1], 1e-4)
    loaded = reference.load(tmp_path / "out", dtype="auto")
    assert {weight.dtype for weight in loaded.parameters()} == {torch.bfloat16}
    after = reference.forward_backward(reference.load(tmp_path / "out"), *batch)
    assert after.loss == pytest.approx(losses[-1], rel=0.02)
