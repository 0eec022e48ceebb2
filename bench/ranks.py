"""The training step on several ranks of this machine beside one rank: tokens per second, the bytes that a rank sends in a
step beside those of the papers' count, and the time of exchanges, overlapped and exposed.

    python3 bench/ranks.py [--ranks 2] [--shape qwen3-0.6b] [--layers 4] [--length 2048]
    python3 bench/ranks.py --device cuda --ranks 2 --shape qwen3-8b --lora --length 32768

On the CPU the one rank has as many threads as there are ranks with a thread each: no step can be faster than one rank by
more than that one loses to its threads; what is slower is communication. On GPUs each rank has its own, and the exposed
seconds are those in which only exchanges ran (a step under the profiler). ZeRO's rows train a sequence on each rank, the
others one on all.
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
        started.append(subprocess.Popen([trireme, "bench", *map(str, options)], env=env, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    ends = [process.communicate() for process in started]
    for process, (_, error) in zip(started, ends, strict=True):
        if process.returncode:
            raise SystemExit(error)
    return json.loads(ends[0][0].splitlines()[-1])


LORA = ("--use_lora", "true", "--lora_r", 16, "--lora_alpha", 32, "--target_modules", "q_proj,k_proj,v_proj,o_proj")
ROW = "{:<16} {:>9} {:>6} {:>9}  {:<15} {:<9} {:>7} {:>16} {:>16} {:>16} {:>6} {:>10} {:>7}".format


def seconds(line, name):
    return f"{line[name]:.2f} s" if name in line else ""  # NCCL's are the profile's, of all together


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trireme", default=str(ROOT / "build" / "bin" / "trireme"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--shape", default="qwen3-0.6b")
    parser.add_argument("--layers", type=int, help="of the shape's; 4 on the CPU, else all")
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--lora", action="store_true", help="r 16 on q, k, v and o; else all weights are trained")
    run = parser.parse_args()
    on_cpu = run.device == "cpu"
    layers = run.layers or (4 if on_cpu else None)
    common = ["--device", run.device, "--shape", run.shape, "--length", run.length, "--steps", run.steps]
    common += ["--layers", layers] if layers else []
    common += LORA if run.lora else []
    common += [] if on_cpu else ["--profile", "true"]

    def threads(count):
        return ("--threads", count) if on_cpu else ()

    one = bench(run.trireme, 1, *common, *threads(run.ranks))
    together = ("--sequence_parallel_size", run.ranks)
    cases = {"ZeRO-1": ("--zero_stage", 1), "ZeRO-2": ("--zero_stage", 2), "ZeRO-3": ("--zero_stage", 3),
             "Ulysses": ("--zero_stage", 1, *together), "Ulysses, ZeRO-3": ("--zero_stage", 3, *together),
             "ring": ("--zero_stage", 1, *together, "--sequence_parallel_type", "ring")}
    print(ROW("", "tok/s", "ratio", "GiB/rank", "collective", "group", "calls", "bytes", "predicted", "paper", "ratio",
              "overlapped", "exposed"))
    print(ROW("1 rank", f"{one['tokens_per_second']:.0f}", "1.00", f"{one['memory']['planned'] / 2**30:.2f}", *[""] * 9))
    for name, options in cases.items():
        result = bench(run.trireme, run.ranks, *common, *threads(1), *options)
        head = (name, f"{result['tokens_per_second']:.0f}",
                f"{result['tokens_per_second'] / one['tokens_per_second']:.2f}",
                f"{result['memory']['planned'] / 2**30:.2f}")
        sums = {}
        for line in result["communication"]["rows"]:
            print(ROW(*head, line["collective"], line["group"], f"{line['calls']:g}", f"{line['bytes']:,.0f}",
                      f"{line['predicted_bytes']:,.0f}", "", "", seconds(line, "overlapped_seconds"),
                      seconds(line, "exposed_seconds")))
            sums[line["group"]] = sums.get(line["group"], 0) + line["bytes"]
            head = ("",) * 4
        for group, paper in result["communication"]["paper_bytes"].items():
            print(ROW(*[""] * 4, "all", group, "", f"{sums[group]:,.0f}", "", f"{paper:,.0f}",
                      f"{sums[group] / paper:.3f}", "", ""))
        if profile := result.get("profile"):
            exchanges = sum(kinds.get("exchange", 0) for kinds in profile["kinds"].values())
            print(ROW(*[""] * 4, "all", "all", *[""] * 5, f"{exchanges - profile['exposed']:.3f} s",
                      f"{profile['exposed']:.3f} s"))


if __name__ == "__main__":
    main()
