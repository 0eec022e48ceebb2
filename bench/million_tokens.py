"""A batch of 1,048,576 tokens on CPU ranks of this machine: a forward and a backward pass of a tiny model, shared by a ring
of groups that exchange heads, beside the loss of one rank.

    python3 bench/million_tokens.py [--trireme build/bin/trireme] [--ranks 4] [--longest 262144]

The longest document decides the time: its square. With 1048576 there is no other.
"""
import argparse
import json
import os
import pathlib
import random
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "python"))
TOKENS, SHORT, VOCAB = 1 << 20, 3072, 131


def documents(longest):
    lengths = [longest]
    while sum(lengths) < TOKENS:
        lengths.append(min(SHORT, TOKENS - sum(lengths)))
    random.seed(7)
    lengths[:] = random.sample(lengths, len(lengths))
    return [random.choices(range(VOCAB), k=length) for length in lengths]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trireme", default=str(ROOT / "build" / "bin" / "trireme"))
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--longest", type=int, default=1 << 18)
    arguments = parser.parse_args()
    os.environ["TRIREME"] = arguments.trireme
    from program import dump
    from test_ranks import dump_on
    from tiny_models import _common, build, save
    from transformers import Qwen3Config

    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        save(build(Qwen3Config(**_common(hidden_size=32, num_attention_heads=2, num_key_value_heads=2, head_dim=8,
                                         intermediate_size=64, num_hidden_layers=1, tie_word_embeddings=True,
                                         max_position_embeddings=TOKENS))), place / "model")
        ids = documents(arguments.longest)
        began = time.monotonic()
        many = dump_on(arguments.ranks, place / "model", ids, ids, place, "--sequence_parallel_type", "hybrid", logits=False)
        passed = time.monotonic() - began
        one = dump(place / "model", ids, ids, place, logits=False, grads=False)
    print(json.dumps({"tokens": TOKENS, "documents": len(ids), "longest": arguments.longest, "ranks": arguments.ranks,
                      "seconds": round(passed, 1), "loss": many.loss_sum / many.tokens,
                      "loss_of_one_rank": one.loss_sum / one.tokens,
                      "largest_gradient": max(float(grad.abs().max()) for grad in many.grads.values())}))


if __name__ == "__main__":
    main()
