"""Rope types against transformers, in fp32 on the CPU: generation, --rope_scaling, what a result says. Each type's logits and
gradients, on one rank and on several, are rows of test_matrix.py.

Tolerances as test_parity's. transformers' dynamic rope remembers the longest sequence that it has seen: the reference
forgets it before each document, as if the model had just been loaded.
"""
import functools
import json
import re

import pytest
import reference
import reviews
import tiny_models
from program import ROOT, dump, run, train
from reviews import Review
from test_parity import assert_parity, make_documents
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, Qwen2Config, Qwen3Config, Qwen3MoeConfig
from transformers.modeling_rope_utils import RopeParameters

LENGTHS = [37, 1, 5, 64, 2, 23]
LLAMA = dict(hidden_size=40, num_attention_heads=4, num_key_value_heads=2, intermediate_size=60)
MOE = dict(hidden_size=40, num_attention_heads=4, num_key_value_heads=2, head_dim=10, intermediate_size=60,
           moe_intermediate_size=20, num_experts=4, num_experts_per_tok=2)


def small(config, sizes, **rope):
    return config(**{**tiny_models._common(num_hidden_layers=2, max_position_embeddings=32), **sizes},
                  rope_parameters={"rope_theta": 10000.0, **rope})


MODELS = {
    "linear": lambda: small(LlamaConfig, LLAMA, rope_type="linear", factor=4.0),
    "dynamic": lambda: small(Qwen2Config, LLAMA, rope_type="dynamic", factor=2.0),
    "yarn": lambda: small(Qwen3Config, {**LLAMA, "head_dim": 12}, rope_type="yarn", factor=4.0,
                          original_max_position_embeddings=16),
    "yarn_all_keys": lambda: small(LlamaConfig, LLAMA, rope_type="yarn", factor=4.0, beta_fast=3.0, beta_slow=0.5,
                                   truncate=False, mscale=0.7, mscale_all_dim=1.0),
    "yarn_experts": lambda: small(Qwen3MoeConfig, MOE, rope_type="yarn", factor=8.0, attention_factor=0.8),
    "longrope": lambda: small(LlamaConfig, LLAMA, rope_type="longrope", short_factor=[1.0, 1.1, 1.2, 1.5, 2.0],
                              long_factor=[1.0, 2.0, 4.0, 8.0, 16.0], factor=4.0, original_max_position_embeddings=30),
    "llama3": lambda: small(Qwen2Config, LLAMA, rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                            high_freq_factor=4.0, original_max_position_embeddings=16),
}


@pytest.fixture(scope="module")
def rope_folder(tmp_path_factory):
    return functools.cache(lambda name: tiny_models.save(tiny_models.build(MODELS[name]()),
                                                         tmp_path_factory.mktemp(name) / "model"))


def forget(module, inputs):
    rotary = module.rotary_emb
    rotary.max_seq_len_cached = rotary.original_max_seq_len
    rotary.inv_freq = rotary.original_inv_freq


def load(folder):
    model = reference.load(folder)
    model.model.register_forward_pre_hook(forget)
    return model


@pytest.fixture(scope="module")
def theirs(rope_folder):
    @functools.cache
    def compute(name):
        return reference.forward_backward(load(rope_folder(name)), *make_documents(131, LENGTHS))
    return compute


@pytest.mark.parametrize("rope", [
    {"rope_type": "dynamic", "factor": 3.0},
    {"rope_type": "longrope", "short_factor": [1.0 + i / 4 for i in range(10)], "long_factor": [1.0 + i for i in range(10)]}])
def test_generation_grows_into_the_rope_as_transformers_does(tmp_path, rope):
    """Keys that are in the cache stay as the length of their time had them rotated."""
    model = tiny_models.make_text_model(tmp_path / "model", max_position_embeddings=24, tie_word_embeddings=False,
                                        rope_parameters={"rope_theta": 10000.0, **rope})
    tokenizer, loaded = AutoTokenizer.from_pretrained(model), reference.load(model)
    prompt = "这部电影 Once upon a time"
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    assert ids.shape[1] < 20
    out = loaded.generate(ids, do_sample=False, max_new_tokens=30, eos_token_id=tiny_models.IM_END, pad_token_id=0)
    new = [token for token in out[0, ids.shape[1]:].tolist() if token != tiny_models.IM_END]
    assert len(new) > 10
    done = run("generate", "--model", model, "--threads", 1, "--prompt", prompt, "--temperature", 0,
               "--max_new_tokens", 30)
    assert done.stdout.strip() == tokenizer.decode(new).strip()
    warned = f"the prompt with --max_new_tokens has {ids.shape[1] + 30} tokens, the model's rope covers 24 positions"
    assert (warned in done.stderr) == (rope["rope_type"] == "longrope")  # dynamic covers 72


# --rope_scaling.

def plain(folder, to):
    tiny_models.copy_of(folder, to)
    tiny_models.edit_json(to / "config.json", lambda config: config.update(
        rope_parameters={"rope_theta": 10000.0, "rope_type": "default"}))
    return to


@pytest.mark.parametrize("old_keys", [False, True])
def test_the_option_stands_for_the_config(rope_folder, theirs, scratch, tmp_path, old_keys):
    model = plain(rope_folder("yarn"), tmp_path / "plain")
    if old_keys:
        tiny_models.old_config_keys(model)
    scaling = {"type": "yarn", "factor": 4, "original_max_position_embeddings": 16}
    ours = dump(model, *make_documents(131, LENGTHS), scratch, "--rope_scaling", json.dumps(scaling))
    assert_parity(ours, theirs("yarn"))


def test_the_result_says_the_rope_that_was_trained_with(tmp_path, scratch):
    """Given in a run config, as an object. And a sample that is longer than the positions is told of, once, with the
    factor that covers it."""
    model = tiny_models.make_text_model(tmp_path / "model", max_position_embeddings=16)
    data = reviews.write_pipeline_json(tmp_path / "data.json", {"甲": [Review("长街", "好"), Review("鲸", "还行")]})
    (tmp_path / "c.json").write_text(json.dumps({"model": {"rope_scaling": {"type": "yarn", "factor": 2}}}))
    done = train(model, data, tmp_path / "out", "--config", tmp_path / "c.json", "--max_steps", 1, "--val_ratio", 0)
    rope = json.loads((tmp_path / "out" / "config.json").read_text())["rope_parameters"]
    assert rope == {"rope_type": "yarn", "factor": 2, "original_max_position_embeddings": 16, "rope_theta": 10000.0}
    warnings = [line for line in done.stderr.splitlines() if "positions" in line]
    assert len(warnings) == 1 and "the model's rope covers 32 positions" in warnings[0]
    factor = float(re.search(r'"factor": ([0-9.]+)', warnings[0]).group(1))
    assert 0 <= factor * 16 - int(re.search(r"longest sample has (\d+) tokens", warnings[0]).group(1)) < 1.6
    documents, labels = make_documents(4096, LENGTHS)
    assert_parity(dump(tmp_path / "out", documents, labels, scratch),
                  reference.forward_backward(reference.load(tmp_path / "out"), documents, labels))


def test_a_merged_adapter_has_the_rope_of_the_option(tmp_path):
    """An adapter's folder has no config.json: the option says so and is given again to export."""
    model = tiny_models.make_text_model(tmp_path / "model")
    data = reviews.write_pipeline_json(tmp_path / "data.json", {"甲": [Review("长街", "好"), Review("鲸", "还行")]})
    yarn = ("--rope_scaling", '{"rope_type": "yarn", "factor": 2}')
    done = train(model, data, tmp_path / "out", "--use_lora", "--max_steps", 1, "--val_ratio", 0, *yarn)
    assert "an adapter's folder does not say it" in done.stderr
    run("export", "--model", model, "--adapter", tmp_path / "out", "--merge", "--output_dir", tmp_path / "merged", *yarn)
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["rope_parameters"]["rope_type"] == "yarn"


# The table of keys.

def test_every_key_that_transformers_writes_stands_in_the_table():
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    keys = {key for config in (LlamaConfig, Qwen2Config, Qwen3Config, Qwen3MoeConfig) for key in config().to_dict()}
    keys |= set(GenerationConfig._get_default_generation_params()) | {"torch_dtype", "rope_theta", "rope_scaling"}
    keys |= {f"rope_parameters.{key}" for key in RopeParameters.__annotations__}
    assert not {key for key in keys if f"| `{key}` |" not in page}
