"""The training step of ./dev demo's model while other programs want the same cores, by how long OpenMP's threads spin
before they sleep. First alone, then beside a busy program on each core; the settings in turns, all in one run.

  python bench/shared.py --trireme build/bin/trireme [--settings default,GOMP_SPINCOUNT=300000,OMP_WAIT_POLICY=passive]

`default` is what the program does by itself, GOMP_SPINCOUNT=300000 what libgomp would: the alternative.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
LENGTH = 512


def seconds(options, model, setting):
    """Of the warm steps of one process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    if setting != "default":
        name, value = setting.split("=")
        environment[name] = value
    command = [options.trireme, "bench", "--model", model, "--length", str(LENGTH), "--steps", str(options.steps + 1),
               "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])["seconds"][1:]


def measure(options, model, busy):
    """Tokens per second by setting: of the median step, and of all steps together."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    times = {setting: [] for setting in options.settings}
    try:
        for _ in range(options.rounds):
            for setting in options.settings:
                times[setting] += seconds(options, model, setting)
    finally:
        for other in others:
            other.kill()
    return {setting: (LENGTH / statistics.median(steps), LENGTH * len(steps) / sum(steps))
            for setting, steps in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trireme", default="build/bin/trireme")
    parser.add_argument("--settings", type=lambda text: text.split(","),
                        default=["default", "GOMP_SPINCOUNT=300000", "OMP_WAIT_POLICY=passive"])
    parser.add_argument("--steps", type=int, default=6, help="timed steps a process")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as model:
        subprocess.run([sys.executable, ROOT / "scripts" / "make_sample_model.py", "--out", model], check=True,
                       stdout=subprocess.DEVNULL)
        alone, shared = measure(options, model, 0), measure(options, model, cores)
    print(f"CPU, {cores} cores; tokens/s of training steps of {LENGTH} tokens, median / all of {options.rounds} x "
          f"{options.steps}")
    print(f"{'setting':>24} {'alone':>15} {f'beside {cores} busy':>15}")
    for setting in options.settings:
        columns = [f"{median:.0f} / {total:.0f}" for median, total in (alone[setting], shared[setting])]
        print(f"{setting:>24} {columns[0]:>15} {columns[1]:>15}")


if __name__ == "__main__":
    main()
