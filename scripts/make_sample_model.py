#!/usr/bin/env python3
"""Writes a small Qwen3 model with random weights as a Hugging Face folder: config.json, model.safetensors (float32) and
the files of a tokenizer folder. It is what the demo trains from nothing. Standard library only: no torch is needed.

Usage: make_sample_model.py --out FOLDER [--hidden 256 --layers 4 ...] [--seed 1]
"""
import argparse
import array
import json
import pathlib
import random
import shutil
import struct
import sys

STD = 0.02  # transformers' initializer_range


def parse():
    here = pathlib.Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, default=here / "sample" / "tokenizer")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv_heads", type=int, default=2)
    parser.add_argument("--head_dim", type=int, default=64)
    parser.add_argument("--intermediate", type=int, default=768)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--max_position", type=int, default=8192)
    parser.add_argument("--untied", action="store_true", help="an lm_head of its own")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def config(options):
    tokens = json.loads((options.tokenizer / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    ids = {token["content"]: token["id"] for token in tokens}
    if options.vocab <= max(ids.values()):
        sys.exit(f"--vocab {options.vocab}: the tokenizer has ids up to {max(ids.values())}")
    return {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3",
        "hidden_size": options.hidden, "num_hidden_layers": options.layers,
        "num_attention_heads": options.heads, "num_key_value_heads": options.kv_heads,
        "head_dim": options.head_dim, "intermediate_size": options.intermediate,
        "vocab_size": options.vocab, "max_position_embeddings": options.max_position,
        "hidden_act": "silu", "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "rope_scaling": None,
        "attention_bias": False, "attention_dropout": 0.0, "initializer_range": STD,
        "use_sliding_window": False, "sliding_window": None, "tie_word_embeddings": not options.untied,
        "bos_token_id": None, "eos_token_id": ids["<|im_end|>"], "pad_token_id": ids["<|endoftext|>"],
        "torch_dtype": "float32", "use_cache": True}


def shapes(o):
    """Names and shapes in the order of the file; linear weights are [out, in]."""
    yield "model.embed_tokens.weight", (o.vocab, o.hidden)
    for i in range(o.layers):
        layer = f"model.layers.{i}."
        yield layer + "input_layernorm.weight", (o.hidden,)
        yield layer + "self_attn.q_proj.weight", (o.heads * o.head_dim, o.hidden)
        yield layer + "self_attn.k_proj.weight", (o.kv_heads * o.head_dim, o.hidden)
        yield layer + "self_attn.v_proj.weight", (o.kv_heads * o.head_dim, o.hidden)
        yield layer + "self_attn.o_proj.weight", (o.hidden, o.heads * o.head_dim)
        yield layer + "self_attn.q_norm.weight", (o.head_dim,)
        yield layer + "self_attn.k_norm.weight", (o.head_dim,)
        yield layer + "post_attention_layernorm.weight", (o.hidden,)
        yield layer + "mlp.gate_proj.weight", (o.intermediate, o.hidden)
        yield layer + "mlp.up_proj.weight", (o.intermediate, o.hidden)
        yield layer + "mlp.down_proj.weight", (o.hidden, o.intermediate)
    yield "model.norm.weight", (o.hidden,)
    if o.untied:
        yield "lm_head.weight", (o.vocab, o.hidden)


def values(rng, shape):
    """Ones for a norm, a normal distribution otherwise, as little-endian float32."""
    count = shape[0] * (shape[1] if len(shape) > 1 else 1)
    gauss = rng.gauss
    numbers = array.array("f", [1.0] * count if len(shape) == 1 else (gauss(0.0, STD) for _ in range(count)))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def write_safetensors(path, tensors, rng):
    """u64 length of the header, header, data. The header is padded with spaces so that the data is aligned to 8."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors:
        size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape in tensors:
            file.write(values(rng, shape))
    return offset // 4


def main():
    options = parse()
    settings = config(options)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
    generation = {key: settings[key] for key in ("eos_token_id", "pad_token_id")}
    (options.out / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    for file in sorted(options.tokenizer.iterdir()):
        shutil.copy(file, options.out / file.name)
    count = write_safetensors(options.out / "model.safetensors", list(shapes(options)), random.Random(options.seed))
    print(f"{options.out}: {count:,} parameters")


if __name__ == "__main__":
    main()
