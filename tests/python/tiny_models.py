"""Random tiny models of each family, made on the fly by transformers and saved as Hugging Face folders.

Sizes are odd on purpose: hidden sizes that no vector width divides, 4:1 and 7:1 query heads to key heads, head sizes
that are not hidden / heads. Weights are drawn larger than transformers' initialisation, so that attention is far from
uniform, and norm weights and biases are random: a swapped or forgotten one shows.
"""
import json
import pathlib
import shutil

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config, Qwen3MoeConfig

STARVED, POPULAR = 1, 2  # the expert that gets no token, and the one that most tokens go to
SAMPLE = pathlib.Path(__file__).resolve().parents[2] / "sample"
IM_END, END_OF_TEXT = 4095, 4093  # of sample/tokenizer

LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 32}


def _common(**changes):
    return {"vocab_size": 131, "max_position_embeddings": 512, "num_hidden_layers": 3, "rms_norm_eps": 1e-6,
            "bos_token_id": None, "eos_token_id": 7, "pad_token_id": None, "tie_word_embeddings": False, **changes}


CONFIGS = {
    "llama_untied": lambda: LlamaConfig(**_common(
        hidden_size=60, num_attention_heads=6, num_key_value_heads=3, intermediate_size=172)),
    "llama_tied_llama3_rope": lambda: LlamaConfig(**_common(
        hidden_size=84, num_attention_heads=4, num_key_value_heads=1, head_dim=24, intermediate_size=220,
        tie_word_embeddings=True, rope_parameters=LLAMA3_ROPE)),
    "llama_biases": lambda: LlamaConfig(**_common(
        hidden_size=60, num_attention_heads=6, num_key_value_heads=6, intermediate_size=172, attention_bias=True,
        mlp_bias=True)),
    "qwen2_tied_7to1": lambda: Qwen2Config(**_common(
        hidden_size=84, num_attention_heads=7, num_key_value_heads=1, intermediate_size=228,
        tie_word_embeddings=True)),
    "qwen2_untied": lambda: Qwen2Config(**_common(
        hidden_size=60, num_attention_heads=6, num_key_value_heads=2, intermediate_size=172)),
    "qwen3_head_dim": lambda: Qwen3Config(**_common(
        hidden_size=60, num_attention_heads=8, num_key_value_heads=2, head_dim=22, intermediate_size=164,
        tie_word_embeddings=True)),
    "qwen3_moe_norm_topk": lambda: Qwen3MoeConfig(**_common(
        hidden_size=60, num_attention_heads=4, num_key_value_heads=1, head_dim=20, intermediate_size=116,
        moe_intermediate_size=28, num_experts=6, num_experts_per_tok=2, norm_topk_prob=True)),
    # Layers 0 and 2 are dense by decoder_sparse_step, 1 by mlp_only_layers, 3 has experts.
    "qwen3_moe_mixed_layers": lambda: Qwen3MoeConfig(**_common(
        hidden_size=84, num_attention_heads=7, num_key_value_heads=1, head_dim=12, intermediate_size=124,
        moe_intermediate_size=36, num_experts=5, num_experts_per_tok=3, norm_topk_prob=False, num_hidden_layers=4,
        mlp_only_layers=[1], decoder_sparse_step=2, tie_word_embeddings=True)),
}
FAMILIES = list(CONFIGS)


def build(config, seed=1):
    """A model of this config in fp32 with randomised weights."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor, std):
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * std)

    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.copy_(torch.rand(weight.shape, generator=generator) + 0.5)
            elif name.endswith(".bias"):
                normal(weight, 0.3)
            elif "embed_tokens" in name:
                normal(weight, 0.5)
            else:
                normal(weight, weight.shape[-1] ** -0.5)
        if getattr(config, "num_experts_per_tok", None):
            _route_by_token(model, config, generator)
    return model.eval()


def _route_by_token(model, config, generator):
    """Gives the first E dimensions of the residual stream to the router: the embedding writes each token's preferences
    there, no layer writes to them, and the router reads little else. Choices then have margins that rounding does not
    flip, no token goes to STARVED, and most go to POPULAR."""
    experts = config.num_local_experts
    levels = torch.linspace(-1, 1, experts)
    codes = torch.stack([levels[torch.randperm(experts, generator=generator)] for _ in range(config.vocab_size)])
    codes[:, STARVED] = -2
    codes[torch.rand(config.vocab_size, generator=generator) < 0.8, POPULAR] = 2
    model.model.embed_tokens.weight[:, :experts] = codes
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight[:experts] = 0
        layer.post_attention_layernorm.weight[:experts] = 1
        if hasattr(layer.mlp, "experts"):
            layer.mlp.experts.down_proj[:, :experts] = 0
            layer.mlp.gate.weight.mul_(0.1)
            layer.mlp.gate.weight[:, :experts] += 3 * torch.eye(experts)
        else:
            layer.mlp.down_proj.weight[:experts] = 0


def save(model, folder, dtype=torch.float32, max_shard_size="5GB"):
    model.to(dtype).save_pretrained(folder, max_shard_size=max_shard_size)
    model.to(torch.float32)
    return pathlib.Path(folder)


def make(name, folder, **options):
    return save(build(CONFIGS[name]()), folder, **options)


def with_tokenizer(folder):
    """Adds the files of the sample tokenizer, whose 4,096 ids the model must have."""
    for file in (SAMPLE / "tokenizer").iterdir():
        shutil.copy(file, folder)
    return folder


def text_model_config(kind="qwen3", **changes):
    """A config that goes with the sample tokenizer."""
    common = _common(vocab_size=4096, eos_token_id=IM_END, pad_token_id=END_OF_TEXT, num_hidden_layers=2,
                     max_position_embeddings=2048, hidden_size=60, tie_word_embeddings=True)
    if kind == "qwen3":
        return Qwen3Config(**{**common, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 20,
                              "intermediate_size": 164, **changes})
    if kind == "qwen2":
        return Qwen2Config(**{**common, "num_attention_heads": 6, "num_key_value_heads": 2,
                              "intermediate_size": 164, **changes})
    assert kind == "qwen3_moe", kind
    return Qwen3MoeConfig(**{**common, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 20,
                             "intermediate_size": 164, "moe_intermediate_size": 44, "num_experts": 4,
                             "num_experts_per_tok": 2, "norm_topk_prob": True, **changes})


def make_text_model(folder, kind="qwen3", dtype=torch.float32, **changes):
    """A random model that reads and writes text, with its tokenizer."""
    return with_tokenizer(save(build(text_model_config(kind, **changes)), folder, dtype=dtype))


def copy_of(folder, to):
    shutil.copytree(folder, to)
    return pathlib.Path(to)


def edit_json(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data, indent=2))


def old_config_keys(folder):
    """config.json as transformers 4 wrote it."""
    def change(config):
        rope = config.pop("rope_parameters")
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
        config["torch_dtype"] = config.pop("dtype")
        if "num_local_experts" in config:
            config["num_experts"] = config.pop("num_local_experts")
        config["transformers_version"] = "4.51.0"
    edit_json(folder / "config.json", change)


def edit_weights(folder, change):
    """Rewrites model.safetensors; `change` edits the dict of tensors."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


def fuse_experts(folder):
    """Experts under fused names: mlp.experts.gate_up_proj [E,2F,C] and mlp.experts.down_proj [E,C,F]."""
    def change(tensors):
        prefixes = {name.split("experts.")[0] + "experts." for name in tensors if ".experts." in name}
        for prefix in prefixes:
            count = len([name for name in tensors if name.startswith(prefix) and name.endswith("down_proj.weight")])
            take = lambda kind: [tensors.pop(f"{prefix}{e}.{kind}_proj.weight") for e in range(count)]
            gate, up, down = take("gate"), take("up"), take("down")
            tensors[prefix + "gate_up_proj"] = torch.stack([torch.cat(pair) for pair in zip(gate, up)])
            tensors[prefix + "down_proj"] = torch.stack(down)
    edit_weights(folder, change)


def shard_count(folder):
    return len(list(folder.glob("model-*.safetensors")))


def tensor_names(folder):
    names = []
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            names += file.keys()
    return names


def split_into_shards(folder, count):
    """Replaces model.safetensors by `count` shards and their index."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    names = sorted(tensors)
    where = {name: f"model-{1 + i * count // len(names):05}-of-{count:05}.safetensors" for i, name in enumerate(names)}
    for shard in set(where.values()):
        save_file({name: tensors[name].clone() for name in names if where[name] == shard}, folder / shard,
                  metadata={"format": "pt"})
    size = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    path.unlink()
