"""`torchrun ... train_distributed_MovieReview.py OPTIONS` as before: hands its options to `trireme train`."""
import os
import pathlib
import sys

PROGRAM = os.environ.get("TRIREME", str(pathlib.Path(__file__).resolve().parent / "build" / "bin" / "trireme"))

if __name__ == "__main__":
    if not os.path.exists(PROGRAM):
        sys.exit(f"{PROGRAM} is not there: run ./dev build, or set TRIREME to the program")
    os.execv(PROGRAM, [PROGRAM, "train", *sys.argv[1:]])
