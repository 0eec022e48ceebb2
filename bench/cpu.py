"""Training step on this machine's CPU: trireme against transformers. Same random model, fp32, same threads, one run,
alternating; both do forward, loss, backward, clipping and AdamW on the same number of random tokens, all trained.

  ./dev bench cpu        or: python bench/cpu.py --trireme build/bin/trireme [--shapes 30m,135m] [--lengths 512,4096]
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

SHAPES = {
    # SmolLM2-135M's shape, and a Qwen3 of 28M.
    "135m": ("llama", dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
                           num_key_value_heads=3, vocab_size=49152, tie_word_embeddings=True)),
    "30m": ("qwen3", dict(hidden_size=384, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=6,
                          num_key_value_heads=2, head_dim=64, vocab_size=49152, tie_word_embeddings=True)),
}


def make_model(shape, folder):
    import torch
    import transformers
    kind, sizes = SHAPES[shape]
    config_class = transformers.LlamaConfig if kind == "llama" else transformers.Qwen3Config
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config_class(max_position_embeddings=8192, **sizes),
                                                          dtype=torch.float32)
    model.save_pretrained(folder)


def peer(folder, length, steps, threads):
    """The alternative, in a process of its own: prints seconds a step."""
    import torch
    import transformers
    torch.set_num_threads(threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    tokens = torch.randint(model.config.vocab_size, (1, length), generator=torch.Generator().manual_seed(1))
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        model(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    print(json.dumps(seconds))


def run(command, threads):
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def compare(options, folder, length):
    """Seconds of the warm steps: (ours, theirs, our last report)."""
    steps = options.steps + 1  # the first warms up
    ours, theirs, report = [], [], None
    for _ in range(options.rounds):
        report = run([options.trireme, "bench", "--model", folder, "--length", str(length), "--steps", str(steps),
                      "--device", "cpu", "--threads", str(options.threads)], options.threads)
        ours += report["seconds"][1:]
        theirs += run([sys.executable, __file__, "--peer", folder, "--peer_length", str(length), "--steps", str(steps),
                       "--threads", str(options.threads)], options.threads)[1:]
    return ours, theirs, report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trireme", default="build/bin/trireme")
    parser.add_argument("--shapes", default="30m,135m")
    parser.add_argument("--lengths", default="512,4096")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, default=2, help="timed steps a round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--peer_length", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        return peer(options.peer, options.peer_length, options.steps, options.threads)
    print(f"CPU, {options.threads} threads, fp32; tokens/s of a whole training step, median of "
          f"{options.rounds} x {options.steps} steps, alternating")
    print(f"{'shape':>6} {'tokens':>7} {'trireme':>9} {'transformers':>13} {'ratio':>6} {'peak':>9} {'planned':>9} {'peak/planned':>13}")
    for shape in options.shapes.split(","):
        with tempfile.TemporaryDirectory() as scratch:
            folder = str(pathlib.Path(scratch) / shape)
            make_model(shape, folder)
            for length in map(int, options.lengths.split(",")):
                ours, theirs, report = compare(options, folder, length)
                mine, peers = length / statistics.median(ours), length / statistics.median(theirs)
                peak, planned = report["memory"]["peak"] / 2**30, report["memory"]["planned"] / 2**30
                print(f"{shape:>6} {length:>7} {mine:>9.0f} {peers:>13.0f} {mine / peers:>6.2f} {peak:>5.2f} GiB "
                      f"{planned:>5.2f} GiB {peak / planned:>13.2f}", flush=True)


if __name__ == "__main__":
    main()
