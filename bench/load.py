"""Reading a checkpoint against reading its file: both from the system's cache, alternating, best of each.

  ./dev bench cpu        or: python bench/load.py --trireme build/bin/trireme [--gigabytes 3]
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time


def make_model(folder, gigabytes):
    """A Llama in fp32 of about this size."""
    import torch
    import transformers
    hidden, layers = 2048, 1
    per_layer = 12 * hidden * hidden
    layers = max(1, round(gigabytes * 1e9 / 4 / per_layer))
    config = transformers.LlamaConfig(hidden_size=hidden, intermediate_size=8 * hidden // 3, num_hidden_layers=layers,
                                      num_attention_heads=16, vocab_size=1024, tie_word_embeddings=True)
    transformers.PreTrainedModel._init_weights = lambda self, module: None  # drawing 3 GB takes a minute
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for weight in model.parameters():
        weight.data.fill_(0.01)
    model.save_pretrained(folder, max_shard_size="100GB")


def read_file(path):
    """Seconds to read the file into fresh memory, as any reader must."""
    size = path.stat().st_size
    start = time.perf_counter()
    buffer = bytearray(size)
    with open(path, "rb", buffering=0) as file:
        view, done = memoryview(buffer), 0
        while done < size:
            done += file.readinto(view[done:done + (64 << 20)])
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trireme", default="build/bin/trireme")
    parser.add_argument("--gigabytes", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch) / "model"
        make_model(folder, options.gigabytes)
        path = folder / "model.safetensors"
        command = [options.trireme, "bench", "--model", str(folder), "--steps", "0", "--device", "cpu"]
        ours, file = [], []
        for _ in range(options.rounds):
            file.append(read_file(path))
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            ours.append(json.loads(done.stdout)["load_seconds"])
        size = path.stat().st_size / 1e9
        print(f"reading a checkpoint of {size:.2f} GB: trireme {min(ours):.2f} s ({size / min(ours):.2f} GB/s), "
              f"the file alone {min(file):.2f} s ({size / min(file):.2f} GB/s), ratio {min(ours) / min(file):.2f}")


if __name__ == "__main__":
    main()
