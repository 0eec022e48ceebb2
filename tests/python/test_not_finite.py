"""NaN and infinity: a step that meets them is skipped and counted, and neither a model that is read nor a file that is
written has them."""
import pytest
import reference
import reviews
import tiny_models
import torch
from program import metric_lines, metrics, run, train
from reviews import Review
from safetensors.torch import load_file, save_file
from test_ranks import free_port, start

GOOD = [Review("盐湖快车", "画面美，音乐也好！")]
BAD = [Review("南方来信", "It's fine, 7/10.")]
BASIC = ("--val_ratio", 0, "--logging_steps", 1, "--lr_scheduler_type", "constant", "--learning_rate", 1e-3,
         "--max_grad_norm", 0, "--adam_epsilon", 1e-3, "--packing", "off")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with experts that takes a sample as any other does, and cannot take another: one token of it goes to an
    expert that no other token goes to, whose weights are so large that their product overflows."""
    folder = tmp_path_factory.mktemp("not_finite")
    (good, _), = reviews.samples({"甲": GOOD})
    (bad, _), = reviews.samples({"乙": BAD})
    token = min(set(bad) - set(good))
    model = tiny_models.build(tiny_models.text_model_config("qwen3_moe"))
    with torch.no_grad():
        model.model.embed_tokens.weight[token, tiny_models.STARVED] = 4
        for layer in model.model.layers:
            layer.mlp.experts.gate_up_proj[tiny_models.STARVED] *= 1e25
    tiny_models.with_tokenizer(tiny_models.save(model, folder / "model"))
    tiny_models.make_text_model(folder / "dense")
    reviews.write_pipeline_json(folder / "good.json", {"甲": GOOD})
    reviews.write_pipeline_json(folder / "both.json", {"甲": GOOD, "乙": BAD})
    return folder


def weights(folder):
    tensors = {}
    for path in folder.glob("*.safetensors"):
        tensors |= load_file(path)
    return tensors


def assert_finite(folder):
    tensors = weights(folder)
    assert tensors and all(tensor.isfinite().all() for tensor in tensors.values()), folder


def skipped(output):
    return [line for line in metric_lines(output) if "skipped" in line]


def assert_one_line(done, *says):
    line, = [line for line in done.stderr.splitlines() if line.startswith("trireme: ")]
    assert all(text in line for text in says), line


# Losses and weights as against PyTorch in test_training.py; the loop leaves the update out and counts the step.
def test_a_bad_sample_is_skipped_and_nothing_else_changes(folder, tmp_path):
    output = tmp_path / "out"
    train(folder / "model", folder / "both.json", output, *BASIC, "--batch_size", 1, "--max_steps", 6, "--save_steps", 1)
    bad = [line["step"] for line in skipped(output)]
    assert len(bad) == 3 and {(step - 1) // 2 for step in bad} == {0, 1, 2}  # once an epoch
    assert [line["skipped_steps"] for line in skipped(output)] == [1, 2, 3]
    assert all(line["micro_batch"] == 1 and "not finite" in line["skipped"] for line in skipped(output))
    model = reference.load(folder / "model")
    (ids, labels), = reviews.samples({"甲": GOOD})
    optimizer, losses, norms = reference.adamw(model, 1e-3, 0, eps=1e-3), [], []
    for step in range(1, 7):
        optimizer.zero_grad()
        if step in bad and step == 1:  # with gradients of zero the first step changes nothing but its count
            for weight in model.parameters():
                weight.grad = torch.zeros_like(weight)
            optimizer.step()
            continue
        if step in bad:
            for state in optimizer.state.values():
                state["step"] += 1
            continue
        loss, tokens = reference.document_loss(model, ids, labels)[:2]
        (loss / tokens).backward()
        losses.append((loss / tokens).item())
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), float("inf")).item())
        optimizer.step()
    ours = metrics(output)
    assert [line["loss"] for line in ours] == pytest.approx(losses, abs=2e-5)
    assert [line["grad_norm"] for line in ours] == pytest.approx(norms, rel=2e-5)
    expected = weights(tiny_models.save(model, tmp_path / "reference"))
    ours = weights(output)
    assert ours.keys() == expected.keys()
    for name, tensor in ours.items():
        assert reference.relative_error(tensor, expected[name]) < 1e-5, name
    # A checkpoint that fell on a skipped step came after the next update.
    assert {int(path.name[11:]) for path in output.glob("checkpoint-*")} == {1, 2, 3, 4, 5, 6} - set(bad)
    for path in output.glob("checkpoint-*"):
        assert_finite(path)


@pytest.mark.parametrize("options", [
    ("--optimizer_in_backward",), ("--use_lora", "--lora_r", 4), ("--moments_dtype", "8bit"),
    ("--optimizer_in_backward", "--clip_in_backward", "layer", "--max_grad_norm", 1)])
def test_it_is_skipped_whatever_updates(folder, tmp_path, options):
    train(folder / "model", folder / "both.json", tmp_path / "out", *BASIC, "--batch_size", 1, "--max_steps", 4, *options)
    assert len(skipped(tmp_path / "out")) == len(metrics(tmp_path / "out")) == 2
    assert_finite(tmp_path / "out")


# Every step has the bad sample: alone, as the second micro-batch, or on one of two ranks.
def test_three_skipped_steps_end_the_run(folder, tmp_path):
    options = [*BASIC, "--batch_size", 1, "--gradient_accumulation_steps", 2, "--max_steps", 9, "--save_steps", 1]
    done = train(folder / "model", folder / "both.json", tmp_path / "out", *options, expect=2)
    assert_one_line(done, "steps 1 to 3 were skipped", "of its micro-batch", "checkpoints stand")
    assert [line["skipped_steps"] for line in skipped(tmp_path / "out")] == [1, 2, 3]
    assert not list((tmp_path / "out").glob("checkpoint-*"))


def test_ranks_skip_together(folder, tmp_path):
    port = free_port()
    arguments = ["train", "--model", folder / "model", "--data_file", folder / "both.json", "--output_dir",
                 tmp_path / "out", "--threads", 1, *BASIC, "--batch_size", 1, "--max_steps", 9, "--zero_stage", 2]
    ranks = [start(2, rank, port, *arguments) for rank in range(2)]
    errors = [rank.communicate(timeout=60)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [2, 2]
    assert "steps 1 to 3 were skipped" in errors[0]
    first = skipped(tmp_path / "out")
    assert [line["step"] for line in first] == [1, 2, 3] and {line["micro_batch"] for line in first} <= {1, 2}


# A good sample and three bad ones, in the order of a seed with which the first step is good.
def test_checkpoints_of_before_are_left(folder, tmp_path):
    data = reviews.write_pipeline_json(tmp_path / "mostly_bad.json", {"甲": GOOD, "乙": BAD, "丙": BAD, "丁": BAD})
    done = train(folder / "model", data, tmp_path / "out", *BASIC, "--max_steps", 99, "--save_steps", 1,
                 "--save_total_limit", 1, "--seed", 3, expect=2)
    good = metrics(tmp_path / "out")[-1]["step"]
    assert metrics(tmp_path / "out")[0]["step"] == 1
    assert_one_line(done, f"steps {good + 1} to {good + 3} were skipped", "checkpoints stand")
    assert [path.name for path in (tmp_path / "out").glob("checkpoint-*")] == [f"checkpoint-{good}"]
    assert_finite(tmp_path / "out" / f"checkpoint-{good}")


@pytest.mark.parametrize("options", [(), ("--use_lora",)])
def test_without_an_update_there_is_no_result(folder, tmp_path, options):
    model = tiny_models.copy_of(folder / "dense", tmp_path / "model")
    tiny_models.edit_weights(model, lambda tensors: tensors["model.layers.0.self_attn.q_norm.weight"].fill_(1e25))
    done = train(model, folder / "good.json", tmp_path / "out", *BASIC, "--max_steps", 1, *options, expect=2)
    assert_one_line(done, "all 1 steps were skipped")
    assert not list((tmp_path / "out").rglob("*.safetensors"))


@pytest.mark.parametrize("value, text", [(float("inf"), "inf"), (float("nan"), "nan")])
@pytest.mark.parametrize("options", [(), ("--use_lora",)])
def test_a_model_that_has_them_is_refused(folder, tmp_path, value, text, options):
    model = tiny_models.copy_of(folder / "dense", tmp_path / "model")

    def change(tensors):
        tensors["model.embed_tokens.weight"][4000, 59] = value
    tiny_models.edit_weights(model, change)
    done = train(model, folder / "good.json", tmp_path / "out", *BASIC, "--max_steps", 1, *options, expect=2)
    assert_one_line(done, "model.safetensors: tensor model.embed_tokens.weight has " + text + " at [4000, 59]")
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_an_export_that_overflows_is_not_written(folder, tmp_path):
    model = tiny_models.make_text_model(tmp_path / "model", dtype=torch.float16)
    train(model, folder / "good.json", tmp_path / "adapter", *BASIC, "--max_steps", 1, "--use_lora")
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    for name, tensor in tensors.items():
        tensor.fill_(1e4)
    save_file(tensors, path, metadata={"format": "pt"})
    done = run("export", "--model", model, "--adapter", tmp_path / "adapter", "--merge", "--output_dir", tmp_path / "out",
               expect=2)
    assert_one_line(done, "has inf at [0, 0] as F16", "not written")
    assert not list(tmp_path.glob("out*"))
