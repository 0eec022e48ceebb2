"""Kills two ranks at random times of a run, again and again; the run resumes each time with --resume auto, and ends in the
bits of one that was not killed. Part of ./dev check:
    TRIREME=build/bin/trireme python tests/python/kill_resume.py [kills [seed]]
"""
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

import reviews
import tiny_models
from program import binary, metrics
from reviews import Review
from test_ranks import free_port, launched

STEPS = 60
OPTIONS = ["--max_steps", STEPS, "--save_steps", 1, "--save_total_limit", 2, "--logging_steps", 1, "--max_length", 256,
           "--val_ratio", 0.2, "--eval_every", 0.7, "--early_stopping_patience", 0, "--learning_rate", 1e-3, "--use_lora",
           "--lora_dropout", 0.1, "--zero_stage", 2, "--threads", 1, "--resume", "auto"]


def start(folder, output):
    port = free_port()
    command = [binary(), *map(str, ["train", "--model", folder / "model", "--data_file", folder / "train.json", "--output_dir",
                                    output, *OPTIONS])]
    return [subprocess.Popen(command, env=launched(2, rank, port), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for rank in range(2)]


def finish(folder, output):
    processes = start(folder, output)
    errors = [process.communicate(timeout=300)[1] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit("\n".join(errors))
    return errors[0]


def newest(output):
    """The step of the newest checkpoint, whole or not."""
    steps = [int(path.name[11:]) for path in output.glob("checkpoint-*") if path.name[11:].isdigit()]
    return max(steps, default=0)


def main():
    kills, seed = int(sys.argv[1]) if len(sys.argv) > 1 else 50, int(sys.argv[2]) if len(sys.argv) > 2 else 1
    rng = random.Random(seed)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="trireme_resume_"))
    tiny_models.make_text_model(folder / "model", head_dim=16)
    users = {f"影迷{i}": [Review(f"影片{i}{j}", "画面美，音乐好！" * (j + 1 + i % 3), f"2015-0{j + 1}-0{i % 9 + 1}")
                         for j in range(3)] for i in range(12)}
    reviews.write_pipeline_json(folder / "train.json", users)
    whole, output = folder / "whole", folder / "killed"
    begun = time.monotonic()
    finish(folder, whole)
    seconds = time.monotonic() - begun
    lost = 0
    for number in range(kills):
        processes = start(folder, output)
        time.sleep(rng.uniform(0, 0.5 * seconds))
        victims = processes if rng.random() < 0.5 else [rng.choice(processes)]
        for process in victims:
            process.kill()
        for process in processes:
            try:
                process.communicate(timeout=2)
            except subprocess.TimeoutExpired:  # it waits for the other, up to a minute where they had not met
                process.kill()
                process.communicate()
        done = metrics(output)[-1]["step"] if (output / "metrics.jsonl").exists() and metrics(output) else 0
        lost = max(lost, done - newest(output))
        if newest(output) == STEPS:  # it would only finish: begin anew
            shutil.rmtree(output)
    last = finish(folder, output)
    for path in whole.glob("*.safetensors"):
        if path.read_bytes() != (output / path.name).read_bytes():
            sys.exit(f"{path.name} differs from that of the run that was not killed")
    left = sorted(path.name for path in output.iterdir() if ".trireme" in path.name or ".damaged" in path.name)
    print(json.dumps({"kills": kills, "seed": seed, "most_steps_lost": lost, "left": left,
                      "resumed": last.splitlines()[-1][:100]}))
    if left or lost > 2:
        sys.exit("something was left, or more than one interval was lost")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
