"""Batches of 1,048,576 tokens on CPU ranks of this machine, with tiny models.

    python3 bench/million_tokens.py pass [--ranks 4] [--longest 262144]
        A forward and a backward pass, shared by a ring of groups that exchange heads, beside the loss of one rank.
        The longest document decides the time: its square. With 1048576 there is no other.
    python3 bench/million_tokens.py train [--ranks 4] [--documents 16] [--width 64]
        A step of `trireme train --max_length 1048576` on one batch of so many reviews of one length, on a ring and on
        one rank: loss, norm of the gradients, seconds, memory.

Measured for `train`, 4 ranks on two cores that had other work too:
    --documents 16 --width 1040: 87 s, one rank 100 s; losses 3.5e-7 apart, norms of gradients 5e-9. The kept [S, 2F] of
        gate and up has 2.18e9 elements, more than 2^31: 2.7 GiB of a rank, 9.1 GiB where there is one.
    --documents 256 --width 1040: 35 s, one rank 45 s; losses 9.7e-7 apart, norms 3e-9: what is left of a sum of a
        million losses in fp32.
    --documents 1: a document of 1,048,566 tokens, 1,024 s; 0.7 GiB a rank.
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
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


def one_pass(arguments, place):
    from program import dump
    from test_ranks import dump_on
    from tiny_models import _common, build, save
    from transformers import Qwen3Config

    save(build(Qwen3Config(**_common(hidden_size=32, num_attention_heads=2, num_key_value_heads=2, head_dim=8,
                                     intermediate_size=64, num_hidden_layers=1, tie_word_embeddings=True,
                                     max_position_embeddings=TOKENS))), place / "model")
    ids = documents(arguments.longest)
    began = time.monotonic()
    many = dump_on(arguments.ranks, place / "model", ids, ids, place, "--sequence_parallel_type", "hybrid", logits=False)
    passed = time.monotonic() - began
    one = dump(place / "model", ids, ids, place, logits=False, grads=False)
    return {"tokens": TOKENS, "documents": len(ids), "longest": arguments.longest, "ranks": arguments.ranks,
            "seconds": round(passed, 1), "loss": many.loss_sum / many.tokens, "loss_of_one_rank": one.loss_sum / one.tokens,
            "largest_gradient": max(float(grad.abs().max()) for grad in many.grads.values())}


def write_reviews(path, count):
    """Of one user each, without a history; as many tokens as fit TOKENS together, up to a few each."""
    from reviews import Review, plain_ids, prompt, read_dmsc_csv, sample_ids, write_pipeline_json, SAMPLE_CSV

    random.seed(7)
    words = [review.text for own in read_dmsc_csv(SAMPLE_CSV).values() for review in own]
    users = {}
    for name in (f"u{i:04}" for i in range(count)):
        room = TOKENS // count - len(sample_ids(prompt(name, [], Review("film", "")), "")[0])
        text = ""
        while len(plain_ids(text)) < room:
            text += "".join(random.choices(words, k=room // 32))
        for _ in range(4):  # what tokens are depends a little on where the text ends
            text = text[:len(text) * room // len(plain_ids(text))]
        while len(plain_ids(text)) > room:
            text = text[:-8]
        users[name] = [Review("film", text)]
    return write_pipeline_json(path, users)


def step(ranks, place, name, *options):
    """The metrics of the step, seconds of the whole command, and what a process held at most."""
    from program import binary, metrics
    from test_ranks import free_port, launched

    port, output = free_port(), place / name
    command = [binary(), "train", "--model", place / "model", "--data_file", place / "train.json", "--output_dir", output,
               "--max_length", TOKENS, "--packing", "on", "--max_steps", 1, "--val_ratio", 0, "--logging_steps", 1,
               "--keep", "all", "--threads", 1, "--collective_timeout", 7200, *options]
    began = time.monotonic()
    started = [subprocess.Popen([str(word) for word in command], env=launched(ranks, rank, port), text=True,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for rank in range(ranks)]
    errors = [process.communicate()[1] for process in started]
    if any(process.returncode for process in started):
        sys.exit("".join(errors))
    seconds, told = time.monotonic() - began, metrics(output)[0]
    return {**told, "command_seconds": round(seconds, 1), "GiB": round(told["memory"] / (1 << 30), 2)}


def one_step(arguments, place):
    from tiny_models import make_text_model

    make_text_model(place / "model", hidden_size=16, num_hidden_layers=1, num_attention_heads=1,
                    num_key_value_heads=1, head_dim=8, intermediate_size=arguments.width, max_position_embeddings=TOKENS)
    write_reviews(place / "train.json", arguments.documents)
    how = ("--sequence_parallel_size", arguments.ranks, "--sequence_parallel_type", "ring")
    many = step(arguments.ranks, place, "many", *how)
    print(json.dumps({"tokens": many["tokens"], "documents": arguments.documents, "ranks": arguments.ranks,
                      "loss": many["loss"], "seconds": many["seconds"],
                      "gate_and_up_elements": many["tokens"] * 2 * arguments.width}), flush=True)
    one = step(1, place, "one")
    told = {name: [run[name] for run in (many, one)] for name in ("loss", "grad_norm", "seconds", "command_seconds", "GiB")}
    return {"of_ranks_and_one": told,
            "apart": {name: abs(many[name] / one[name] - 1) for name in ("loss", "grad_norm")}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pass", "train"])
    parser.add_argument("--trireme", default=str(ROOT / "build" / "bin" / "trireme"))
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--longest", type=int, default=1 << 18, help="pass: tokens of the longest document")
    parser.add_argument("--documents", type=int, default=16, help="train: how many")
    parser.add_argument("--width", type=int, default=64, help="train: of the MLP")
    arguments = parser.parse_args()
    os.environ["TRIREME"] = arguments.trireme
    with tempfile.TemporaryDirectory() as place:
        run = {"pass": one_pass, "train": one_step}[arguments.what]
        print(json.dumps(run(arguments, pathlib.Path(place))))


if __name__ == "__main__":
    main()
