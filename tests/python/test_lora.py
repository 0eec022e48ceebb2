"""LoRA against PEFT: adapters that we write load in it and those that it writes load in ours, merged models equal its
own, gradients of adapters equal its own; and what is refused.

PEFT 0.21.2 with transformers 5.17 loads adapters of experts in module form (one a linear, as of transformers 4) by
joining them. That is right with gate, up and down adapted or down alone, and else not (`auto` writes the form of
transformers 5 then): see src/model/adapter_io.h. The last test of that section fails when a newer PEFT does better.
"""
import functools
import json
import shutil

import adapters
import pytest
import reference
import reviews
import tiny_models
import torch
from adapters import ATTENTION, MLP
from program import dump, metrics, run, train
from reviews import Review
from safetensors.torch import load_file, save_file
from test_parity import make_documents

ALL = ATTENTION + MLP
DENSE, MOE, MIXED = "qwen3_head_dim", "qwen3_moe_norm_topk", "qwen3_moe_mixed_layers"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """folder(name): the model's folder, made once."""
    return functools.cache(lambda name: tiny_models.make(name, tmp_path_factory.mktemp(name) / "model"))


def export(model, adapter, output, *options, **run_options):
    return run("export", "--model", model, "--adapter", adapter, "--output_dir", output, *options, **run_options)


def logits(model):
    ids = torch.tensor([[5, 99, 3, 17, 3, 3, 42, 8, 120, 77, 1, 64] * 3])
    with torch.no_grad():
        return model(ids).logits


def assert_close(ours, theirs, unlike=None):
    """Logits of this size (10) differ by 1e-5 in fp32; `unlike` is what they would be without the adapter."""
    if unlike is not None:
        assert (theirs - unlike).abs().max() > 0.1
    assert (ours - theirs).abs().max() <= 1e-4


def with_tensors(model, tensors, to):
    shutil.copytree(model, to)
    save_file(tensors, to / "model.safetensors", metadata={"format": "pt"})
    return to


# Merging: export --merge against W + scale B A, and against PEFT's own merge_and_unload.

@pytest.mark.parametrize("name", tiny_models.FAMILIES)
def test_merged_weights(folder, tmp_path, name):
    """Weight by weight, and no other file is lost. fp32: one rounding of products of rank 3."""
    adapter = adapters.make(folder(name), tmp_path / "adapter", ALL)
    export(folder(name), adapter, tmp_path / "out", "--merge")
    want = adapters.merge_by_hand(folder(name), adapters.random_tensors(folder(name), ALL, 3), 7 / 3)
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert set(found) == set(want)
    base = load_file(folder(name) / "model.safetensors")
    for tensor in want:
        assert torch.allclose(found[tensor], want[tensor], rtol=1e-5, atol=1e-6), tensor
        assert torch.equal(found[tensor], base[tensor]) != adapters.is_linear(tensor, ALL), tensor
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == json.loads(
        (folder(name) / "config.json").read_text())


@pytest.mark.parametrize("name, targets", [(DENSE, ALL), ("llama_biases", ALL), ("qwen2_tied_7to1", ["q_proj"]),
                                           (MOE, ALL), (MOE, ["down_proj"]), (MIXED, ATTENTION)])
def test_merged_model_equals_pefts(folder, tmp_path, name, targets):
    adapter = adapters.make(folder(name), tmp_path / "adapter", targets)
    export(folder(name), adapter, tmp_path / "out", "--merge")
    theirs = logits(adapters.load(folder(name), adapter).merge_and_unload())
    assert_close(logits(reference.load(tmp_path / "out")), theirs, unlike=logits(reference.load(folder(name))))


def test_merging_keeps_the_dtype_and_shards_of_bf16(folder, tmp_path):
    """The sum is made in fp32 and rounded once; PEFT rounds B A to bf16 first."""
    model = tiny_models.save(reference.load(folder(MOE)), tmp_path / "base", dtype=torch.bfloat16)
    adapter = adapters.make(folder(MOE), tmp_path / "adapter", ALL)
    export(model, adapter, tmp_path / "out", "--merge")
    want = adapters.merge_by_hand(model, adapters.random_tensors(folder(MOE), ALL, 3), 7 / 3)
    base = load_file(model / "model.safetensors")
    for tensor, value in load_file(tmp_path / "out" / "model.safetensors").items():
        assert value.dtype == torch.bfloat16
        assert torch.allclose(value.float(), want[tensor].float(), rtol=2**-7, atol=1e-3), tensor
        assert adapters.is_linear(tensor, ALL) or torch.equal(value, base[tensor])


@pytest.mark.parametrize("rslora, scale", [(False, 7 / 3), (True, 7 / 3**0.5)])
def test_scale(folder, tmp_path, rslora, scale):
    adapter = adapters.make(folder(MOE), tmp_path / "adapter", ALL, use_rslora=rslora)
    export(folder(MOE), adapter, tmp_path / "out", "--merge")
    want = adapters.merge_by_hand(folder(MOE), adapters.random_tensors(folder(MOE), ALL, 3), scale)
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.allclose(found[tensor], want[tensor], rtol=1e-5, atol=1e-6) for tensor in want)


# Ours to PEFT.

SETS = [ALL, ATTENTION, ["q_proj", "v_proj"], ["gate_proj", "up_proj"], ["down_proj"], ["up_proj", "o_proj"]]


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("targets", SETS, ids="+".join)
@pytest.mark.parametrize("name", [DENSE, MOE])
def test_what_we_write_peft_reads(folder, tmp_path, name, targets, rslora):
    """With the form of experts' adapters that is written by itself, and with `parameters`."""
    adapter = adapters.make(folder(name), tmp_path / "adapter", targets, use_rslora=rslora)
    scale = 7 / (3**0.5 if rslora else 3)
    merged = with_tensors(folder(name), adapters.merge_by_hand(
        folder(name), adapters.random_tensors(folder(name), targets, 3), scale), tmp_path / "merged")
    theirs = logits(reference.load(merged))
    base = logits(reference.load(folder(name)))
    for kind in ("auto", "parameters"):
        export(folder(name), adapter, tmp_path / kind, "--expert_adapters", kind)
        assert_close(logits(adapters.load(folder(name), tmp_path / kind)), theirs, unlike=base)


def test_both_forms_of_experts_and_back(folder, tmp_path):
    """modules -> parameters -> modules are the same tensors bit for bit; both read by PEFT."""
    adapter = adapters.make(folder(MOE), tmp_path / "adapter", ALL)
    export(folder(MOE), adapter, tmp_path / "parameters", "--expert_adapters", "parameters")
    export(folder(MOE), tmp_path / "parameters", tmp_path / "modules", "--expert_adapters", "modules")
    before, _ = adapters.read(adapter)
    after, config = adapters.read(tmp_path / "modules")
    assert set(before) == set(after) and all(torch.equal(before[name], after[name]) for name in before)
    assert sorted(config["target_modules"]) == sorted(ALL) and config["r"] == 3 and config["lora_alpha"] == 7
    tensors, config = adapters.read(tmp_path / "parameters")
    assert tensors["base_model.model.model.layers.0.mlp.experts.base_layer.lora_B.weight"].shape == (56, 36)
    assert config["target_parameters"] == ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    assert config["rank_pattern"] == {"gate_up_proj": 6} and config["alpha_pattern"] == {"gate_up_proj": 14}
    assert_close(logits(adapters.load(folder(MOE), tmp_path / "parameters")),
                 logits(adapters.load(folder(MOE), tmp_path / "modules")))


def test_dropout_is_not_written_for_experts(folder, tmp_path):
    """PEFT refuses to load it, though nothing is dropped in inference."""
    adapter = adapters.make(folder(MOE), tmp_path / "adapter", ALL, lora_dropout=0.05)
    with pytest.raises(ValueError, match="lora_dropout"):
        adapters.load(folder(MOE), adapter)
    export(folder(MOE), adapter, tmp_path / "out")
    adapters.load(folder(MOE), tmp_path / "out")
    dense = adapters.make(folder(DENSE), tmp_path / "dense", ALL, lora_dropout=0.05)
    export(folder(DENSE), dense, tmp_path / "dense_out")
    assert adapters.read(tmp_path / "dense_out")[1]["lora_dropout"] == 0.05


def test_a_model_with_dense_layers_too_is_warned_about(folder, tmp_path):
    """PEFT takes gate_proj and the like for the experts' alone: no form keeps those of dense layers."""
    adapter = adapters.make(folder(MIXED), tmp_path / "adapter", ALL)
    done = export(folder(MIXED), adapter, tmp_path / "out")
    assert "warning: adapters of the dense MLP layers" in done.stderr and "--merge" in done.stderr


def test_a_form_that_peft_misreads_is_warned_about(folder, tmp_path):
    adapter = adapters.make(folder(MOE), tmp_path / "adapter", ["gate_proj", "up_proj"])
    said = export(folder(MOE), adapter, tmp_path / "out", "--expert_adapters", "modules").stderr
    assert "warning: --expert_adapters modules: PEFT" in said
    assert "warning" not in export(folder(MOE), adapter, tmp_path / "auto").stderr


def test_peft_has_still_the_flaws_that_auto_avoids(folder, tmp_path):
    """When this fails, a newer PEFT reads module form rightly: simplify expert_adapters() in adapter_write.cc."""
    base = logits(reference.load(folder(MOE)))
    adapter = adapters.make(folder(MOE), tmp_path / "gate_up", ["gate_proj", "up_proj"])
    with pytest.raises(Warning, match="missing adapter keys"):
        adapters.load(folder(MOE), adapter)
    adapter = adapters.make(folder(MOE), tmp_path / "rslora", ALL, use_rslora=True)
    export(folder(MOE), adapter, tmp_path / "merged", "--merge")
    ours = logits(reference.load(tmp_path / "merged"))
    assert (logits(adapters.load(folder(MOE), adapter)) - ours).abs().max() > 1e-2 * (ours - base).abs().max()


# PEFT's to ours.

@pytest.mark.parametrize("name, fields", [
    pytest.param(*row, id=row[0] + "-" + "+".join(map(str, row[1].values()))[:60]) for row in [
        (DENSE, {"target_modules": ALL}),
        (DENSE, {"target_modules": "all-linear"}),
        (DENSE, {"target_modules": r".*\.(q|up)_proj"}),
        (DENSE, {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1]}),
        (DENSE, {"target_modules": ALL, "use_rslora": True}),
        (MOE, {"target_modules": ALL}),                      # gate and up get an A of rank 2r, shared
        (MOE, {"target_modules": ALL, "use_rslora": True}),  # with PEFT's scale of its own
        (MOE, {"target_modules": ["gate_proj", "up_proj"]}),
        (MOE, {"target_modules": ["q_proj", "down_proj"]}),
        (MOE, {"target_modules": [], "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}),
        (MOE, {"target_modules": ["o_proj"], "target_parameters": ["mlp.experts.gate_up_proj"]}),
        (MOE, {"target_modules": ["o_proj"], "target_parameters": ["mlp.experts.down_proj"]}),
    ]])
def test_what_peft_writes_we_read(folder, tmp_path, name, fields):
    """Adapters made by PEFT for the transformers of today: merged, and written again in every form."""
    model = adapters.train_natively(folder(name), tmp_path / "adapter", r=3, lora_alpha=5, **fields)
    theirs = logits(model)
    export(folder(name), tmp_path / "adapter", tmp_path / "merged", "--merge")
    assert_close(logits(reference.load(tmp_path / "merged")), theirs, unlike=logits(reference.load(folder(name))))
    export(folder(name), tmp_path / "adapter", tmp_path / "again")
    assert_close(logits(adapters.load(folder(name), tmp_path / "again")), theirs)


def test_bf16_adapters(folder, tmp_path):
    tensors = {name: tensor.bfloat16() for name, tensor in adapters.random_tensors(folder(DENSE), ALL, 3).items()}
    adapter = adapters.write(tmp_path / "adapter", tensors, adapters.config(folder(DENSE), ALL, 3, 7))
    export(folder(DENSE), adapter, tmp_path / "out")
    found, _ = adapters.read(tmp_path / "out")
    assert all(torch.equal(found[name], tensor.float()) for name, tensor in tensors.items())


# Through the model: logits and the gradient of every adapter. Tolerances as in test_parity.

def assert_gradients(ours, theirs):
    errors = reference.gradient_errors(ours, theirs)
    worst = max(errors, key=errors.get)
    assert errors[worst] <= 1e-4, f"gradient of {worst}: {errors[worst]:.1e} of its norm"


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("name, targets", [(name, ALL) for name in tiny_models.FAMILIES if name != MIXED] + [
    (MIXED, ATTENTION), (DENSE, ["k_proj"]), (DENSE, ["v_proj", "up_proj"]), (MOE, ["down_proj"]),
    (MOE, ["q_proj", "gate_proj", "up_proj"])])
def test_logits_loss_and_adapter_gradients_equal_pefts(folder, tmp_path, name, targets, rslora):
    """PEFT reads the form that it scales rightly; gradients of zeros in its block-diagonal B are not ours."""
    adapter = adapters.make(folder(name), tmp_path / "adapter", targets, use_rslora=rslora)
    export(folder(name), adapter, tmp_path / "out", "--expert_adapters", "auto")
    model = adapters.load(folder(name), tmp_path / "out", trainable=True)
    documents, labels = make_documents(model.config.vocab_size)
    theirs = adapters.forward_backward(model, documents, labels)
    ours = dump(folder(name), documents, labels, tmp_path, "--adapter", adapter)
    assert ours.tokens == theirs.tokens
    # Random adapters make logits of 10 and more: relative to the largest.
    assert (ours.logits - theirs.logits).abs().max() <= 3e-5 * theirs.logits.abs().max()
    assert abs(ours.loss_sum - theirs.loss_sum) <= 1e-5 * theirs.loss_sum
    assert_gradients(ours.grads, theirs.grads)


@pytest.mark.parametrize("name", tiny_models.FAMILIES)
def test_gradients_follow_from_those_of_the_merged_model(folder, tmp_path, name):
    """dA = s B^T dW, dB = s dW A^T. Also for the model of dense and sparse layers, whose adapters PEFT does not keep."""
    adapter = adapters.make(folder(name), tmp_path / "adapter", ALL)
    export(folder(name), adapter, tmp_path / "merged", "--merge")
    documents, labels = make_documents(131)
    merged = dump(tmp_path / "merged", documents, labels, tmp_path)
    grads = {}
    tensors = adapters.random_tensors(folder(name), ALL, 3)
    for tensor, grad in merged.grads.items():
        module = tensor.removesuffix(".weight")
        if f"{adapters.PREFIX}{module}.lora_A.weight" in tensors:
            a, b = (tensors[f"{adapters.PREFIX}{module}.lora_{x}.weight"] for x in "AB")
            grads[f"{module}.lora_A.weight"], grads[f"{module}.lora_B.weight"] = 7 / 3 * b.T @ grad, 7 / 3 * grad @ a.T
    ours = dump(folder(name), documents, labels, tmp_path, "--adapter", adapter)
    assert abs(ours.loss_sum - merged.loss_sum) <= 1e-5 * merged.loss_sum
    assert (ours.logits - merged.logits).abs().max() <= 1e-4
    assert_gradients(ours.grads, grads)


def test_new_adapters_change_nothing(folder, tmp_path):
    """B is zero at the start: the base model's logits, and no gradient of A."""
    documents, labels = make_documents(131)
    for name in (DENSE, MOE):
        base = dump(folder(name), documents, labels, tmp_path, grads=False)
        ours = dump(folder(name), documents, labels, tmp_path, "--use_lora", "--target_modules", "all-linear")
        assert (ours.logits - base.logits).abs().max() <= 1e-5
        assert all((grad == 0).all() for tensor, grad in ours.grads.items() if ".lora_A." in tensor)
        assert any((grad != 0).any() for tensor, grad in ours.grads.items() if ".lora_B." in tensor)


# Training.

TEXT_USERS = {"影迷甲": [Review("盐湖快车", "画面美，音乐也好！"), Review("机械鲸", "还行吧", "2016-02-29")],
              "路人": [Review("南方来信", "It's fine, 7/10. " * 6), Review("铁皮屋顶", "雨声。", "2016-01-01")]}
STEPS = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return reviews.write_pipeline_json(tmp_path_factory.mktemp("data") / "train.json", TEXT_USERS)


@pytest.mark.parametrize("kind, targets", [("qwen3", ALL), ("qwen2", ["q_proj", "v_proj"]),
                                           ("qwen3_moe", [*ATTENTION, "down_proj"])])
def test_losses_and_adapters_of_training_equal_pefts(tmp_path, data, kind, targets):
    """As in test_training, epsilon and bounds. Gate and up of experts are left out: PEFT trains the zeros between them
    too."""
    model = tiny_models.make_text_model(tmp_path / "model", kind)
    adapter = adapters.make(model, tmp_path / "adapter", targets)
    samples = reviews.samples(TEXT_USERS)
    batch = [ids for ids, _ in samples], [labels for _, labels in samples]
    train(model, data, tmp_path / "out", "--adapter", adapter, "--val_ratio", 0, "--max_steps", STEPS,
          "--logging_steps", 1, "--learning_rate", 2e-3, "--lr_scheduler_type", "constant", "--weight_decay", 0.1,
          "--max_grad_norm", 1.5, "--adam_epsilon", 5e-4)
    theirs = adapters.load(model, adapter, trainable=True)
    losses, norms = reference.train(theirs, *batch, STEPS, 2e-3, 0.1, 1.5, eps=5e-4)
    ours = metrics(tmp_path / "out")
    assert [line["loss"] for line in ours] == pytest.approx(losses[:-1], abs=2e-5)
    assert [line["grad_norm"] for line in ours] == pytest.approx(norms, rel=2e-5)
    assert losses[-1] < 0.9 * losses[0]
    assert_close(logits(adapters.load(model, tmp_path / "out")), logits(theirs))
    # The base model is as it was, and what was trained is what was written.
    assert dump(model, *batch, tmp_path, "--adapter", tmp_path / "out", grads=False).loss == pytest.approx(
        losses[-1], abs=2e-5)


def test_what_a_run_leaves_behind(tmp_path, data):
    """PEFT folders; a second run goes on from a checkpoint."""
    model = tiny_models.make_text_model(tmp_path / "model", "qwen3_moe")
    (tmp_path / "c.json").write_text(run_config(lambda config: config["model"].update(path=str(model))))
    options = ["--val_ratio", 0.4, "--max_steps", 4, "--save_steps", 2, "--learning_rate", 1e-3]
    train(model, data, tmp_path / "out", "--config", tmp_path / "c.json", *options)
    for name in ("out", "out/checkpoint-2", "out/checkpoint-4"):
        names = {path.name for path in (tmp_path / name).iterdir()}
        assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= names
        assert not names & {"config.json", "model.safetensors"}
        adapters.load(model, tmp_path / name)
    assert not (tmp_path / "out" / "best").exists()
    record = json.loads((tmp_path / "out" / "run.json").read_text())["options"]
    assert record["use_lora"] and record["lora_r"] == 32 and record["target_modules"] == ",".join(ALL)
    train(model, data, tmp_path / "more", "--config", tmp_path / "c.json", "--adapter", tmp_path / "out/checkpoint-2",
          *options)
    adapters.load(model, tmp_path / "more")
    train(model, data, tmp_path / "out", "--config", tmp_path / "c.json", *options, "--overwrite")


@pytest.mark.parametrize("kind", ["qwen3", "qwen3_moe"])
def test_generating_with_an_adapter_is_generating_with_the_merged_model(tmp_path, kind):
    model = tiny_models.make_text_model(tmp_path / "model", kind)
    adapter = adapters.make(model, tmp_path / "adapter", ALL)
    export(model, adapter, tmp_path / "merged", "--merge")
    words = ["--prompt", "用户风格", "--temperature", 0, "--max_new_tokens", 12, "--threads", 1]
    ours = run("generate", "--model", model, "--adapter", adapter, *words).stdout
    assert ours == run("generate", "--model", tmp_path / "merged", *words).stdout
    assert ours != run("generate", "--model", model, *words).stdout


# What is refused: one line, exit status 2.

def refused(*arguments, says, **options):
    done = run(*arguments, expect=2, **options)
    line = done.stderr.splitlines()[-1]
    assert line.startswith("trireme: ") and "internal error" not in line and len(line) < 700
    for part in says:
        assert part in line, line
    assert done.stdout == ""


def fields(**changes):
    return lambda tensors, config: config.update(changes)


def every_tensor(change):
    def apply(tensors, config):
        for name in list(tensors):
            tensors[name] = change(tensors[name])
    return apply


def renamed(old, new):
    def apply(tensors, config):
        for name in list(tensors):
            tensors[name.replace(old, new)] = tensors.pop(name)
    return apply


Q_A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize("damage, says", [
    pytest.param(*row, id=row[1][0][:50]) for row in [
        (fields(peft_type="IA3"), ["peft_type: \"IA3\" is not built, only LORA"]),
        (fields(task_type="SEQ_CLS"), ["task_type: \"SEQ_CLS\" is not built, only CAUSAL_LM"]),
        (fields(fan_in_fan_out=True), ["fan_in_fan_out: true is not built"]),
        (fields(init_lora_weights="pissa"), ["init_lora_weights: \"pissa\" is not built", "path_initial_model_for_weight_conversion"]),
        (fields(trainable_token_indices=[1]), ["trainable_token_indices: [1] is not built"]),
        (fields(use_dorra=True), ["use_dorra: true is not known (did you mean 'use_dora'?)"]),
        (fields(target_parameters=["lm_head.weight"]), ["target_parameters: lm_head.weight is not built"]),
        (fields(r=0), ["adapter_config.json:5:3: r: a number of at least 1 is expected, found 0"]),
        (fields(r=2.5), ["r: 2.5 is no rank"]),
        (fields(r="3"), ["r: a number of at least 1 is expected, found \"3\""]),
        (fields(r=4), [Q_A, "has shape [3, 60], this model and the r of adapter_config.json ask for [4, 60]"]),
        (lambda tensors, config: config.pop("r"), ["adapter_config.json: no r"]),
        (lambda tensors, config: config.pop("peft_type"), ["no peft_type"]),
        (lambda tensors, config: tensors.pop(Q_A), [f"tensor {Q_A} [3, 60] is missing"]),
        (renamed("layers.2", "layers.9"), ["model.layers.9.", "is not an adapter of a linear of this qwen3 model"]),
        (renamed("q_proj", "c_attn"), ["c_attn", "is not an adapter of a linear"]),
        (renamed("self_attn.q_proj", "mlp.experts"), ["mlp.experts", "no experts"]),
        (renamed("lora_A", "lora_embedding_A"), ["lora_embedding_A", "is not an adapter of a linear"]),
        (lambda tensors, config: tensors.clear(), ["no adapter in it"]),
        (every_tensor(lambda tensor: tensor.double()), ["dtype F64 is not one of F32, BF16, F16"]),
    ]])
def test_bad_adapters(folder, tmp_path, damage, says):
    tensors = adapters.random_tensors(folder(DENSE), ["q_proj", "v_proj"], 3)
    config = adapters.config(folder(DENSE), ["q_proj", "v_proj"], 3, 7)
    damage(tensors, config)
    adapter = adapters.write(tmp_path / "adapter", tensors, config)
    refused("export", "--model", folder(DENSE), "--adapter", adapter, "--output_dir", tmp_path / "out", says=says)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("theirs, says", [
    ("llama_untied", ["self_attn.q_proj.lora_B.weight has shape [60, 3]", "ask for [176, 3]", "another model"]),
    ("qwen2_tied_7to1", ["has shape [3, 84]", "ask for [3, 60]", "another model"]),
    (MOE, ["mlp.experts.0", "is not an adapter of a linear of this qwen3 model"])])
def test_an_adapter_of_another_model(folder, tmp_path, theirs, says):
    adapter = adapters.make(folder(theirs), tmp_path / "adapter", ALL)
    refused("export", "--model", folder(DENSE), "--adapter", adapter, "--output_dir", tmp_path / "out", "--merge",
            says=[*says, str(folder(theirs))])


def test_experts_of_another_number(folder, tmp_path):
    adapter = adapters.make(folder(MOE), tmp_path / "adapter", MLP)
    export(folder(MOE), adapter, tmp_path / "parameters", "--expert_adapters", "parameters")
    tensors, config = adapters.read(tmp_path / "parameters")
    name = "base_model.model.model.layers.1.mlp.experts.lora_A.weight"
    tensors[name] = tensors[name][:-3]
    adapters.write(tmp_path / "bad", tensors, config)
    refused("export", "--model", folder(MOE), "--adapter", tmp_path / "bad", "--output_dir", tmp_path / "out",
            says=[name, "has shape [15, 28]", "ask for [18, 28]"])


def test_folders_that_are_no_adapters(folder, tmp_path):
    def case(adapter, *says):
        refused("export", "--model", folder(DENSE), "--adapter", adapter, "--output_dir", tmp_path / "out", says=says)
    case(tmp_path / "nowhere", "no such folder")
    case(folder(DENSE), "no adapter_config.json", "give it as --model")
    adapter = adapters.make(folder(DENSE), tmp_path / "adapter", ["q_proj"])
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    case(adapter, "adapter_model.bin: not read", "safetensors")


def test_targets_of_export(folder, tmp_path):
    """Nothing is lost that an export did not write, and nothing that is read."""
    adapter = adapters.make(folder(DENSE), tmp_path / "adapter", ["q_proj"])
    model = shutil.copytree(folder(DENSE), tmp_path / "model")
    for output, *says in [(adapter, "is or holds what is read, --adapter"),
                          (model, "is or holds what is read, --model"), (tmp_path, "is or holds what is read")]:
        refused("export", "--model", model, "--adapter", adapter, "--output_dir", output, "--overwrite", says=says)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("the only copy")
    refused("export", "--model", model, "--adapter", adapter, "--output_dir", tmp_path / "out", says=["not empty"])
    refused("export", "--model", model, "--adapter", adapter, "--output_dir", tmp_path / "out", "--overwrite",
            says=["holds thesis.txt"])
    export(model, adapter, tmp_path / "new")
    export(model, adapter, tmp_path / "new", "--merge", "--overwrite")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {path.name for path in model.iterdir()} | {"trireme.json"}


def test_bad_options(folder, tmp_path):
    def case(*options, says):
        refused("train", "--model", folder(DENSE), "--data_file", "d.csv", "--output_dir", tmp_path / "out", *options,
                says=says)
    case("--use_lora", "--lora_r", 0, says=["--lora_r: 0 is out of range", "1 to"])
    case("--use_lora", "--lora_r", -4, says=["--lora_r: -4 is out of range"])
    case("--use_lora", "--target_modules", ",", says=["--target_modules: no name in it"])
    case("--lora_r", 16, says=["--lora_r: without effect", "--use_lora"])


def test_targets_that_match_nothing(folder, tmp_path):
    documents = json.dumps({"documents": [[1, 2]]})
    (tmp_path / "batch.json").write_text(documents)
    for target, *says in [("q_prj", "'q_prj' is no linear of this qwen3 model (did you mean 'q_proj'?)", "up_proj"),
                          ("lm_head", "'lm_head' is no linear", "all-linear"), ("gate", "'gate' is no linear")]:
        refused("dump", "--model", folder(DENSE), "--batch", tmp_path / "batch.json", "--out", tmp_path / "out",
                "--use_lora", "--target_modules", f"q_proj,{target}", says=says)


def run_config(change=lambda config: None):
    """The users' run config for LoRA on Qwen3-30B-A3B (config_DMSC_30B_lora_50pct.json): what it says of the model, as
    they wrote it."""
    config = {"model": {
        "name": "Qwen3-30B-A3B-Instruct-2507", "path": "m", "hf_model_name": "Qwen/Qwen3-30B-A3B-Instruct-2507",
        "checkpoint_dir": "c", "use_lora": True,
        "lora_config": {"r": 32, "lora_alpha": 64, "lora_dropout": 0.05, "target_modules": ALL, "bias": "none",
                        "task_type": "CAUSAL_LM"}}}
    change(config)
    return json.dumps(config, indent=1)


@pytest.mark.parametrize("field, value, says", [
    ("r", 0, ["lora_config.r: 0 is out of range"]),
    ("rr", 5, ["lora_config.rr: unknown key (did you mean 'r'?)"]),
    ("lora_alhpa", 5, ["unknown key (did you mean 'lora_alpha'?)"]),
    ("bias", "both", ["lora_config.bias: 'both' is not known: none, all or lora_only is expected"]),
    ("rank_pattern", 4, ["lora_config.rank_pattern: an object is expected"]),
    ("layers_to_transform", ["a"], ["lora_config.layers_to_transform: a list of numbers is expected"]),
    ("target_modules", [".*q_proj"], ["'.*q_proj' is no name: a regular expression stands alone"]),
    ("target_modules", [1], ["lora_config.target_modules: a list of names is expected"]),
    ("target_modules", 5, ["lora_config.target_modules: a string is expected"])])
def test_bad_run_configs(tmp_path, field, value, says):
    (tmp_path / "c.json").write_text(run_config(lambda c: c["model"]["lora_config"].update({field: value})))
    refused("train", "--config", "c.json", "--data_file", "d.csv", "--output_dir", "out", cwd=tmp_path,
            says=["c.json:", *says])


def test_the_users_run_config(tmp_path):
    """Read to the end: the first complaint is that their model is not here."""
    (tmp_path / "c.json").write_text(run_config())
    refused("train", "--config", "c.json", "--data_file", "d.csv", "--output_dir", "out", cwd=tmp_path,
            says=["m: no such folder"])
