"""kill -9 at each system call that changes files, of a run that starts over an earlier one, saves, rotates and finishes.

After each kill every folder under a final name that has a configuration loads, at least one does, a file of the user is
as it was, and the next run with --overwrite ends well. Needs strace, which injects the signal. Part of ./dev check:
    TRIREME=build/bin/trireme python tests/python/kill_loop.py [every Nth call]
"""
import collections
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import reference
import reviews
import tiny_models
from program import binary, run
from reviews import Review

# The calls before the first of output_dir are of loading; of many writes, each third is taken.
CALLS = {"mkdir": 1, "rename": 1, "renameat2": 1, "link": 1, "linkat": 1, "unlink": 1, "unlinkat": 1, "rmdir": 1,
         "flock": 1, "fsync": 1, "write": 3}


def arguments(folder, output):
    return ["train", "--model", folder / "model", "--data_file", folder / "train.json", "--output_dir", output,
            "--val_ratio", 0, "--threads", 1, "--max_steps", 3, "--save_steps", 1, "--save_total_limit", 1, "--overwrite"]


def traced(folder, output, *options):
    command = ["strace", "-o", folder / "trace", *options, binary(), *arguments(folder, output)]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120)


def count_calls(folder, output):
    """How many calls of each kind a run makes before and after it comes to its output folder."""
    done = traced(folder, output, "-e", "trace=" + ",".join(CALLS))
    assert done.returncode == 0, done.stderr
    before, after, begun = collections.Counter(), collections.Counter(), False
    for line in (folder / "trace").read_text().splitlines():
        name = re.match(r"(\w+)\(", line)
        begun |= str(output) in line
        if name:
            (after if begun else before)[name[1]] += 1
    return before, after


def loads(folder):
    try:
        reference.load(folder)
        return True
    except Exception as error:  # whatever a reader says
        sys.exit(f"{folder} has a configuration and does not load: {error}")


def check(folder, output, point):
    places = [output, *output.glob("checkpoint-*"), output / "best"]
    whole = [place for place in places if (place / "config.json").exists() and ".trireme-" not in place.name and loads(place)]
    if not whole:
        sys.exit(f"{point}: no folder loads")
    if (output / "mine.txt").read_text() != "mine":
        sys.exit(f"{point}: a file of the user was changed")
    run(*arguments(folder, output))
    loads(output)
    left = sorted(path.name for path in output.iterdir() if ".trireme" in path.name)
    if left:
        sys.exit(f"{point}: the next run left {left}")


def main():
    if not shutil.which("strace"):
        sys.exit("kill_loop: strace is not installed: apt-get install strace")
    step = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    folder = pathlib.Path(tempfile.mkdtemp(prefix="trireme_kill_"))
    tiny_models.make_text_model(folder / "model")
    users = {"影迷甲": [Review(f"影片{i}", "画面美！", f"2015-01-0{i + 1}") for i in range(4)]}
    reviews.write_pipeline_json(folder / "train.json", users)
    earlier = folder / "earlier"
    run(*arguments(folder, earlier))
    (earlier / "mine.txt").write_text("mine")
    output = folder / "out"
    shutil.copytree(earlier, output)
    before, after = count_calls(folder, output)
    for call, count in after.items():
        killed = 0
        for index in range(before[call] + 1, before[call] + count + 1, step * CALLS[call]):
            shutil.rmtree(output, ignore_errors=True)
            shutil.copytree(earlier, output)
            done = traced(folder, output, "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={index}")
            killed += done.returncode != 0
            check(folder, output, f"{call} {index}")
        print(f"{call}: {killed} of {count} calls were the last; what they left loads, and the next run works", flush=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
