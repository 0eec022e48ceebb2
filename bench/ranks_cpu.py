"""The training step on two CPU ranks of this machine beside one rank with as many threads: tokens per second, and the
bytes that a rank sends in a step beside those of the papers' count.

    python3 bench/ranks_cpu.py [--trireme build/bin/trireme] [--ranks 2] [--length 2048] [--layers 4]

Two ranks with a thread each, of which no step can be faster than one rank with two threads by more than that one loses to
its threads; what is slower is communication.
"""
import argparse
import json
import os
import pathlib
import socket
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def bench(trireme, ranks, *options):
    """The JSON of rank 0."""
    port = free_port()
    started = []
    for rank in range(ranks):
        env = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(rank),
               "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)} if ranks > 1 else dict(os.environ)
        started.append(subprocess.Popen([trireme, "bench", "--device", "cpu", *map(str, options)], env=env, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    ends = [process.communicate() for process in started]
    for process, (_, error) in zip(started, ends, strict=True):
        if process.returncode:
            raise SystemExit(error)
    return json.loads(ends[0][0].splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trireme", default=str(ROOT / "build" / "bin" / "trireme"))
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--shape", default="qwen3-0.6b")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=4)
    run = parser.parse_args()
    common = ("--shape", run.shape, "--layers", run.layers, "--length", run.length, "--steps", run.steps)
    one = bench(run.trireme, 1, *common, "--threads", run.ranks)
    cases = {"ZeRO-1": ("--zero_stage", 1), "ZeRO-2": ("--zero_stage", 2), "ZeRO-3": ("--zero_stage", 3),
             "Ulysses": ("--zero_stage", 1, "--sequence_parallel_size", run.ranks),
             "Ulysses, ZeRO-3": ("--zero_stage", 3, "--sequence_parallel_size", run.ranks)}
    row = "{:<16} {:>9} {:>6} {:>9}  {:<15} {:<9} {:>7} {:>14} {:>14} {:>14} {:>6} {:>10} {:>7}".format
    print(row("", "tok/s", "ratio", "GiB/rank", "collective", "group", "calls", "bytes", "foreseen", "paper", "ratio",
              "overlapped", "exposed"))
    print(row("1 rank", f"{one['tokens_per_second']:.0f}", "1.00", f"{one['memory']['planned'] / 2**30:.2f}", *[""] * 9))
    for name, options in cases.items():
        result = bench(run.trireme, run.ranks, *common, "--threads", 1, *options)
        head = (name, f"{result['tokens_per_second']:.0f}",
                f"{result['tokens_per_second'] / one['tokens_per_second']:.2f}",
                f"{result['memory']['planned'] / 2**30:.2f}")
        sums = {}
        for line in result["traffic"]["rows"]:
            print(row(*head, line["collective"], line["group"], f"{line['calls']:g}", f"{line['bytes']:,.0f}",
                      f"{line['foreseen_bytes']:,.0f}", "", "", f"{line['overlapped_seconds']:.2f} s",
                      f"{line['exposed_seconds']:.2f} s"))
            sums[line["group"]] = sums.get(line["group"], 0) + line["bytes"]
            head = ("",) * 4
        for group, paper in result["traffic"]["paper_bytes"].items():
            print(row(*[""] * 4, "all", group, "", f"{sums[group]:,.0f}", "", f"{paper:,.0f}",
                      f"{sums[group] / paper:.3f}", "", ""))


if __name__ == "__main__":
    main()
