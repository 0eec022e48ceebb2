"""The table of bench/one_gpu.sh: python bench/one_gpu_table.py RESULTS.jsonl"""
import json
import sys

GIB = 1 << 30


def read(path):
    """case -> program -> result, in the order of the runs."""
    cases = {}
    for line in open(path):
        result = json.loads(line)
        cases.setdefault(result["case"], {})[result["program"]] = result
    return cases


def memory(result):
    """(peak, peak beyond weights, gradients and optimizer) in GiB as text."""
    if "memory" in result:
        values = result["memory"]["peak"], result["memory"]["peak_beyond_weights_gradients_optimizer"]
    else:
        values = result.get("peak"), result.get("beyond")
    return ["-" if value is None else f"{value / GIB:.1f}" for value in values]


def row(case, program, result, fastest):
    if "failed" in result:
        return f"{case:16} {program:22} {result['failed']}"
    speed = result["tokens_per_second"]
    ratio = f"{speed / fastest:.2f}" if fastest and program == "trireme" else ""
    peak, beyond = memory(result)
    text = f"{case:16} {program:22} {speed:9,.0f} {ratio:>6} {peak:>7} {beyond:>7}"
    host = result.get("host_memory", {})
    text += f" {host['stored'] / GIB:7.1f}" if host.get("stored") else " " * 8
    bound = result.get("bound")
    if bound:
        text += (f" {bound['keep_tokens_per_second']:9,.0f} {bound['kept_tokens_per_second']:9,.0f}"
                 f" {bound['fraction_of_kept']:6.2f} {bound['fraction_with_optimizer']:6.2f}")
    return text


def print_optimizer(case, result):
    """What state on the host costs beside a step: its copies one way, AdamW's bound there, AdamW as it was."""
    there = result.get("bound", {}).get("optimizer_on_host", {})
    if not there.get("bytes_one_way"):
        return
    text = f"\n{case}: {result['seconds'][-1]:.2f} s a step; copies {there['copy_seconds']:.2f} s one way"
    if result["host_adamw_seconds"]:
        text += f"; AdamW on the host {result['host_adamw_seconds']:.2f} s, its bound {there['host_adamw_seconds']:.2f} s"
    print(text)


def print_profile(case, result):
    profile = result.get("profile")
    if not profile:
        return
    print(f"\n{case}: {profile['seconds'] * 1e3:.1f} ms a step, idle {profile['idle'] * 1e3:.1f} ms; ms by kind")
    for phase, kinds in profile["kinds"].items():
        parts = ", ".join(f"{kind} {s * 1e3:.1f}" for kind, s in sorted(kinds.items(), key=lambda item: -item[1]))
        print(f"  {phase:14} {profile['phases'][phase] * 1e3:8.1f}   {parts}")


def main():
    cases = read(sys.argv[1])
    print(f"{'case':16} {'program':22} {'tokens/s':>9} {'ratio':>6} {'GiB':>7} {'beyond':>7} {'host':>7}"
          f" {'keep':>9} {'kept':>9} {'of it':>6} {'+opt':>6}")
    for case, results in cases.items():
        speeds = [r["tokens_per_second"] for p, r in results.items()
                  if not p.startswith("trireme") and "tokens_per_second" in r]
        for program, result in results.items():
            print(row(case, program, result, max(speeds, default=None)))
    for case, results in cases.items():
        for program, result in results.items():
            print_optimizer(f"{case}, {program}", result)
            print_profile(f"{case}, {program}", result)


if __name__ == "__main__":
    main()
