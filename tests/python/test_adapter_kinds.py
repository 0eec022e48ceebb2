"""What PEFT's LoraConfig can say beside r, lora_alpha and target_modules, against PEFT: an adapter that PEFT wrote, written
again and merged; training; ZeRO. Logits, loss and the gradient of every trained tensor, on one rank and on ranks that share
a sequence, are rows of test_matrix.py. Tolerances as in test_lora.
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
from safetensors.torch import load_file
from test_lora import (DENSE, MOE, STEPS, TEXT_USERS, assert_close, export, logits, refused)
from test_parity import make_documents
from test_ranks import assert_equal, dump_on, make_batch
from test_ranks_training import assert_same_training, twice

ALL = ATTENTION + MLP
PATTERNS = {"target_modules": ALL, "rank_pattern": {"q_proj": 2, r".*\.1\.mlp\.(up|down)_proj": 5, "mlp.gate_proj": 6},
            "alpha_pattern": {"k_proj": 3, r"^model\.layers\.2\.mlp\..*": 16, "q_proj": 1}}
ENDS = ["embed_tokens", "lm_head"]
KINDS = {
    "patterns": (DENSE, PATTERNS),
    "one pattern, and norms": (DENSE, {"target_modules": r"model\.layers\.\d+\.(self_attn|mlp)\.(q|k|up)_proj",
                                       "exclude_modules": r".*\.1\..*k_proj", "modules_to_save": ["norm"]}),
    "layers, and the tied head": (DENSE, {"target_modules": ALL, "layers_to_transform": [0, 2], "layers_pattern": "layers",
                                          "exclude_modules": ["v_proj"], "use_rslora": True,
                                          "modules_to_save": ["lm_head"]}),
    "embedding and head": ("llama_untied", {"target_modules": ["q_proj"], "modules_to_save": ENDS}),
    "embedding and head, tied": (DENSE, {"target_modules": ALL, "modules_to_save": ENDS}),
    "embedding alone, tied": (DENSE, {"target_modules": ["v_proj"], "modules_to_save": ["embed_tokens"]}),
    "router and norms": (MOE, {"target_modules": ATTENTION, "rank_pattern": {"o_proj": 7},
                               "modules_to_save": ["gate", "post_attention_layernorm"]}),
    "all biases": ("llama_biases", {"target_modules": ["q_proj", "down_proj"], "bias": "all"}),
    "biases of adapted linears": ("qwen2_untied", {"target_modules": ["k_proj", "o_proj"], "bias": "lora_only"}),
    "dora": (DENSE, {"target_modules": ["q_proj", "v_proj", "o_proj", "up_proj"], "use_dora": True,
                     "rank_pattern": {"v_proj": 5}}),
    "dora with biases": ("llama_biases", {"target_modules": ALL, "use_dora": True, "use_rslora": True}),
    "biases of B": ("llama_biases", {"target_modules": ALL, "lora_bias": True, "alpha_pattern": {"v_proj": 2}}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """folder(name): the model's folder, made once."""
    return functools.cache(lambda name: tiny_models.make(name, tmp_path_factory.mktemp(name) / "model"))


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    """made(kind): the model's folder, the adapter's and PEFT's model of both, made once."""
    @functools.cache
    def make(kind):
        name, fields = KINDS[kind]
        path = tmp_path_factory.mktemp("adapter")
        return folder(name), path, adapters.train_kind(folder(name), path, r=3, lora_alpha=5, **fields)
    return make


@pytest.mark.parametrize("kind", KINDS)
def test_written_again_and_merged_it_is_pefts(made, tmp_path, kind):
    """The same tensors under the same names, and a configuration by which PEFT computes the same. What config.json says
    of a head that is tied is true of the merged model."""
    model, path, theirs = made(kind)
    theirs = logits(theirs)
    export(model, path, tmp_path / "again")
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (path, tmp_path / "again"))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert_close(logits(adapters.load(model, tmp_path / "again")), theirs, unlike=logits(reference.load(model)))
    export(model, path, tmp_path / "merged", "--merge")
    assert_close(logits(reference.load(tmp_path / "merged")), theirs)
    tied = "lm_head.weight" not in load_file(tmp_path / "merged" / "model.safetensors")
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["tie_word_embeddings"] == tied


@pytest.mark.parametrize("kind, flags", [
    ("embedding and head, tied", ("--sequence_parallel_size", 2, "--zero_stage", 3)),
    ("dora", ("--sequence_parallel_size", 2, "--sequence_parallel_type", "ring", "--zero_stage", 3)),
    ("one pattern, and norms", ("--sequence_parallel_size", 2, "--sequence_parallel_type", "ring", "--zero_stage", 2))])
def test_two_ranks_equal_one(made, tmp_path, kind, flags):
    model, path, _ = made(kind)
    documents, labels = make_batch([37, 1, 5, 64, 2, 23])
    one = dump(model, documents, labels, tmp_path, "--threads", 1, "--adapter", path)
    assert_equal(one, dump_on(2, model, documents, labels, tmp_path, *flags, "--adapter", path))


# Training.

@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return reviews.write_pipeline_json(tmp_path_factory.mktemp("data") / "train.json", TEXT_USERS)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """models(kind): a model that reads and writes text, made once."""
    return functools.cache(lambda kind: tiny_models.make_text_model(tmp_path_factory.mktemp(kind) / "model", kind))


@pytest.mark.parametrize("kind, fields", [
    ("qwen3", {**PATTERNS, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"k_proj": 3},
               "modules_to_save": [*ENDS, "q_norm"]}),
    ("qwen2", {"target_modules": ["q_proj", "o_proj"], "bias": "all", "lora_bias": True}),
    ("qwen3", {"target_modules": ALL, "use_dora": True})])
def test_training_equals_pefts(tmp_path, models, data, kind, fields):
    """As in test_lora; what is written is what was trained, and nothing else has changed. The lengths of DoRA decay here
    and in transformers' Trainer, and not in reference.adamw."""
    decay = 0 if fields.get("use_dora") else 0.1
    model, adapter = models(kind), tmp_path / "adapter"
    adapters.train_kind(model, adapter, r=3, lora_alpha=5, **fields)
    samples = reviews.samples(TEXT_USERS)
    batch = [ids for ids, _ in samples], [labels for _, labels in samples]
    train(model, data, tmp_path / "out", "--adapter", adapter, "--val_ratio", 0, "--max_steps", STEPS,
          "--logging_steps", 1, "--learning_rate", 2e-3, "--lr_scheduler_type", "constant", "--weight_decay", decay,
          "--max_grad_norm", 1.5, "--adam_epsilon", 5e-4)
    theirs = adapters.load(model, adapter, trainable=True)
    losses, norms = reference.train(theirs, *batch, STEPS, 2e-3, decay, 1.5, eps=5e-4)
    ours = metrics(tmp_path / "out")
    assert [line["loss"] for line in ours] == pytest.approx(losses[:-1], abs=2e-5)
    assert [line["grad_norm"] for line in ours] == pytest.approx(norms, rel=2e-5)
    assert losses[-1] < 0.95 * losses[0]
    assert_close(logits(adapters.load(model, tmp_path / "out")), logits(theirs))


FLAGS = ("--use_lora", "--lora_r", 4, "--lora_alpha", 8, "--target_modules", r".*\.(q|v|up)_proj",
         "--exclude_modules", "model.layers.1.self_attn.v_proj", "--rank_pattern", '{"up_proj": 6}',
         "--alpha_pattern", '{"v_proj": 2}', "--modules_to_save", "embed_tokens,lm_head,norm")
FIELDS = {"r": 4, "lora_alpha": 8, "target_modules": r".*\.(q|v|up)_proj",
          "exclude_modules": ["model.layers.1.self_attn.v_proj"], "rank_pattern": {"up_proj": 6},
          "alpha_pattern": {"v_proj": 2}, "modules_to_save": ["embed_tokens", "lm_head", "norm"],
          "layers_to_transform": None, "bias": "none"}


def test_flags_and_run_config_say_what_peft_says(tmp_path, models, data):
    """The same run by both, and tensors of the names and shapes that PEFT makes of these fields. What is trained whole
    begins as the base has it: the first loss is the base's."""
    (tmp_path / "c.json").write_text(json.dumps({"model": {
        "path": str(models("qwen3")), "use_lora": True, "lora_config": FIELDS}}))
    steps = ("--val_ratio", 0, "--max_steps", 2, "--logging_steps", 1, "--learning_rate", 1e-3)
    train(models("qwen3"), data, tmp_path / "flags", *FLAGS, *steps)
    train(models("qwen3"), data, tmp_path / "file", "--config", tmp_path / "c.json", *steps)
    ours, again = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("flags", "file"))
    assert ours.keys() == again.keys() and all(torch.equal(ours[name], again[name]) for name in ours)
    fields = {name: value for name, value in FIELDS.items() if value is not None}
    adapters.train_kind(models("qwen3"), tmp_path / "peft", **fields)
    theirs = load_file(tmp_path / "peft" / "adapter_model.safetensors")
    assert {name: tensor.shape for name, tensor in ours.items()} == {
        name: tensor.shape for name, tensor in theirs.items()}
    train(models("qwen3"), data, tmp_path / "plain", "--use_lora", *steps)
    assert metrics(tmp_path / "flags")[0]["loss"] == pytest.approx(metrics(tmp_path / "plain")[0]["loss"], abs=1e-6)
    adapters.load(models("qwen3"), tmp_path / "flags")


@pytest.mark.parametrize("options", [("--zero_stage", 3), ("--zero_stage", 2, "--optimizer_in_backward", "true",
                                                            "--max_grad_norm", 0),
                                     ("--zero_stage", 1, "--offload_optimizer", "cpu", "--offload_param", "cpu")],
                         ids=["zero 3", "in backward", "offload"])
def test_what_is_trained_whole_beside_a_sharded_base(tmp_path, models, data, options):
    text = (*FLAGS[:5], "--target_modules", "q_proj", "--layers_to_transform", "1", "--modules_to_save",
            "embed_tokens,lm_head,norm")
    one, many = twice(models, data, tmp_path, "qwen3", 2, ("--batch_size", 2), ("--batch_size", 1), *text, *options)
    assert_same_training(one, many)


@pytest.mark.parametrize("flags", [("--modules_to_save", ",".join(ENDS)),
                                   ("--use_dora", "--target_modules", "all-linear")], ids=["whole", "dora"])
def test_memory_is_planned(tmp_path, data, flags):
    """Beside a vocabulary of 20 MiB its weights, gradients and moments in two copies, 2 x 4 x 20 MiB; or the copies of a
    layer of 100 MiB."""
    model = tiny_models.make_text_model(tmp_path / "model", "qwen3", hidden_size=1280, intermediate_size=6400)
    log = train(model, data, tmp_path / "out", "--val_ratio", 0, "--max_steps", 2, "--use_lora", *flags).stderr
    planned = int(log.rsplit("(", 1)[1].split("%")[0])
    assert "peak" in log and 94 <= planned <= 104, log[-1500:]


# Reading what others left.

def test_an_adapter_beside_a_model_is_attached(folder, tmp_path):
    """As transformers does where peft is installed."""
    both = shutil.copytree(folder(DENSE), tmp_path / "both")
    adapter = adapters.make(folder(DENSE), tmp_path / "adapter", ALL)
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(adapter / file, both)
    documents, labels = make_documents(131)
    done = run("generate", "--model", both, "--prompt", "x", expect=None)
    assert "adapter_config.json: an adapter beside the model: it is attached" in done.stderr
    ours = dump(both, documents, labels, tmp_path, grads=False)
    theirs = torch.cat([reference.load(both)(torch.tensor([document])).logits[0].detach() for document in documents])
    assert (ours.logits - theirs).abs().max() <= 3e-5 * theirs.abs().max()


@pytest.mark.parametrize("name", [DENSE, "llama_untied"])
def test_embeddings_saved_beside_an_adapter(folder, tmp_path, name):
    """PEFT's save_embedding_layers: equal to the base's, they are passed over; others are read, as PEFT reads them."""
    model = adapters.train_natively(folder(name), tmp_path / "plain", r=2, target_modules=["q_proj"])
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    said = export(folder(name), tmp_path / "adapter", tmp_path / "same").stderr
    assert "embed_tokens.weight is equal to the model's: not read" in said
    assert len(load_file(tmp_path / "same" / "adapter_model.safetensors")) == 6
    tensors, config = adapters.read(tmp_path / "adapter")
    for end in ("model.embed_tokens", "lm_head"):
        tensors[f"base_model.model.{end}.weight"] += 0.25
    adapters.write(tmp_path / "other", tensors, config)
    said = export(folder(name), tmp_path / "other", tmp_path / "merged", "--merge").stderr
    assert "lm_head.weight differs from the model's: read as one of modules_to_save" in said
    with torch.no_grad():
        for end in {model.get_input_embeddings().weight, model.get_output_embeddings().weight}:
            end += 0.25
    assert_close(logits(reference.load(tmp_path / "merged")), logits(model))


END = "base_model.model.model.embed_tokens.weight"


@pytest.mark.parametrize("change, says", [
    (lambda t, c: t.update({END: torch.zeros(140, 60)}), ["has 140 rows, the model 131", "resize_token_embeddings(140)"]),
    (lambda t, c: t.update({END: torch.zeros(131, 60)}), ["whose head is the embedding"]),
    (lambda t, c: t.update({"base_model.model.model.norm.weight": torch.ones(60)}),
     ["model.norm.weight", "modules_to_save of adapter_config.json does not name it"]),
    (lambda t, c: c.update(modules_to_save=["model.norm"]), ["model.norm.weight [60] is missing"]),
    (lambda t, c: c.update(modules_to_save=["k_proj"]), ["'k_proj' is or has model.layers.0.self_attn.k_proj, a linear"]),
    (lambda t, c: c.update(modules_to_save=["mlp"]), ["modules_to_save: 'mlp' is or has"]),
    (lambda t, c: c.update(modules_to_save=["score"]), ["modules_to_save: 'score' names no module"]),
    (lambda t, c: c.update(bias="some"), ["bias: none, all or lora_only is expected"]),
    (lambda t, c: c.update(target_modules=["q_proj"]), ["v_proj.lora_A.weight", "do not name it"]),
    (lambda t, c: c.update(layers_to_transform=[0]), ["model.layers.1.self_attn.q_proj", "do not name it"]),
    (lambda t, c: c.update(rank_pattern={"q_proj": 0}), ["rank_pattern: q_proj: a number of at least 1"]),
    (lambda t, c: c.update(rank_pattern=[4]), ["rank_pattern: an object is expected"]),
    (lambda t, c: c.update(rank_pattern={"v_proj": 4}), ["v_proj.lora_A.weight has shape [3, 60]", "ask for [4, 60]"]),
    (lambda t, c: c.update(alpha_pattern={"(?i)q": 4}), ["alpha_pattern: (?i in the pattern"]),
    (lambda t, c: [t.__setitem__(n.replace("A.w", "A.default.w"), t.pop(n)) for n in list(t)],
     ["lora_A.default.weight", "an adapter's name in it"]),
    (lambda t, c: [t.__setitem__(n.removeprefix("base_model."), t.pop(n)) for n in list(t)],
     ["begins with base_model.model."]),
    (lambda t, c: t.update({"base_model.model.lm_head.lora_A.weight": torch.zeros(3, 60)}),
     ["adapters of the embedding and the head are not built", "modules_to_save"])])
def test_what_the_configuration_does_not_explain_is_refused(folder, tmp_path, change, says):
    tensors = adapters.random_tensors(folder(DENSE), ["q_proj", "v_proj"], 3)
    config = adapters.config(folder(DENSE), ["q_proj", "v_proj"], 3, 7)
    change(tensors, config)
    adapter = adapters.write(tmp_path / "adapter", tensors, config)
    refused("export", "--model", folder(DENSE), "--adapter", adapter, "--output_dir", tmp_path / "out", says=says)


@pytest.mark.parametrize("flags, says", [
    (("--rank_pattern", '{"o_proj": 4}'), ["rank_pattern: 'o_proj' names no linear that gets an adapter"]),
    (("--rank_pattern", "4"), ["--rank_pattern: an object is expected"]),
    (("--rank_pattern", "{"), ["--rank_pattern:1:"]),
    (("--layers_to_transform", "7"), ["layers_to_transform: 7 is no layer: this model has 0 to 2"]),
    (("--layers_to_transform", "x"), ["--layers_to_transform: 'x' is no number"]),
    (("--layers_to_transform", "0", "--layers_pattern", "h"), ["layers_pattern: 'h' is not what this model calls"]),
    (("--layers_to_transform", "0", "--target_modules", "all-linear"), ["layers_to_transform: PEFT takes it with names"]),
    (("--target_modules", r".*\.c_attn"), ["leaves no linear"]),
    (("--target_modules", "(q_proj"), ["in the pattern '(q_proj'"]),
    (("--exclude_modules", "q_prj"), ["exclude_modules: 'q_prj' is nothing that this qwen3 model has (did you mean 'q_proj'?)"]),
    (("--bias", "both"), ["--bias: 'both' is not known: none, all or lora_only is expected"])])
def test_bad_flags(folder, tmp_path, flags, says):
    (tmp_path / "batch.json").write_text(json.dumps({"documents": [[1, 2]]}))
    refused("dump", "--model", folder(DENSE), "--batch", tmp_path / "batch.json", "--out", tmp_path / "out",
            "--use_lora", *flags, says=says)


def test_dora_begins_as_the_base(folder, tmp_path):
    """B is zero and the lengths are W's: the base's logits. A dropout changes the training pass alone."""
    documents, labels = make_documents(131)
    base = dump(folder(DENSE), documents, labels, tmp_path, grads=False)
    flags = ("--use_lora", "--use_dora", "--target_modules", "all-linear")
    ours = dump(folder(DENSE), documents, labels, tmp_path, *flags, grads=False)
    assert (ours.logits - base.logits).abs().max() <= 1e-5 * base.logits.abs().max()
    again = dump(folder(DENSE), documents, labels, tmp_path, *flags, "--lora_dropout", 0.5)
    assert (again.logits - base.logits).abs().max() <= 1e-5 * base.logits.abs().max()
    lengths = [grad for name, grad in again.grads.items() if name.endswith("magnitude_vector")]
    assert len(lengths) == 21 and all((grad != 0).any() for grad in lengths)
    (tmp_path / "batch.json").write_text(json.dumps({"documents": [[1, 2]]}))
    refused("dump", "--model", folder(MOE), "--batch", tmp_path / "batch.json", "--out", tmp_path / "out", *flags,
            says=["use_dora: PEFT does not know it for adapters of experts"])


def test_the_gradient_of_lengths_with_dropout(folder, tmp_path):
    """PEFT's mask is another: the gradient against a difference of losses, of one seed, along a random direction."""
    torch.manual_seed(2)
    adapters.train_kind(folder(DENSE), tmp_path / "adapter", r=3, target_modules=ALL, use_dora=True, lora_dropout=0.3)
    documents, labels = make_documents(131)
    tensors, config = adapters.read(tmp_path / "adapter")
    grads = dump(folder(DENSE), documents, labels, tmp_path, "--adapter", tmp_path / "adapter", logits=False).grads
    lengths = {name: torch.randn_like(grad) for name, grad in grads.items() if name.endswith("magnitude_vector")}
    losses = []
    for step in (3e-4, -3e-4):
        moved = {name: tensor + step * lengths.get(name.removeprefix(adapters.PREFIX), 0)
                 for name, tensor in tensors.items()}
        adapters.write(tmp_path / "moved", moved, config)
        losses.append(dump(folder(DENSE), documents, labels, tmp_path, "--adapter", tmp_path / "moved",
                           logits=False).loss)
    slope = sum((grads[name] * along).sum().item() for name, along in lengths.items())
    assert (losses[0] - losses[1]) / 6e-4 == pytest.approx(slope, rel=1e-2)


def test_biases_of_b_merge_only_where_the_model_has_some(folder, tmp_path):
    """PEFT cannot either."""
    adapters.train_kind(folder(DENSE), tmp_path / "adapter", r=2, target_modules=["q_proj"], lora_bias=True)
    refused("export", "--model", folder(DENSE), "--adapter", tmp_path / "adapter", "--output_dir", tmp_path / "out",
            "--merge", says=["q_proj has a trained bias (lora_bias) and the model none to add it to"])
