"""cmake --install, and the installed program after its folder has moved."""
import pathlib
import re
import subprocess
import sys

import pytest
import tiny_models
import torch
from program import binary

BUILD = pathlib.Path(binary()).parents[1]
TORCH = pathlib.Path(torch.__file__).parent
PACKAGES = TORCH.parent


@pytest.fixture
def moved(tmp_path):
    """The installed program."""
    subprocess.run(["cmake", "--install", BUILD, "--prefix", tmp_path / "prefix"], check=True)
    return (tmp_path / "prefix").rename(tmp_path / "moved") / "bin" / "trireme"


def start(path, *arguments, **options):
    return subprocess.run([path, *arguments], capture_output=True, text=True, **options)


def test_it_runs_where_it_was_moved_to(moved):
    version = start(moved, "--version")
    assert version.returncode == 0 and version.stdout == start(binary(), "--version").stdout
    ids = start(moved, "tokenize", "--tokenizer", tiny_models.SAMPLE / "tokenizer", input='"a"\n')
    assert ids.returncode == 0 and re.fullmatch(r"\[\d+\]\n", ids.stdout)
    assert "Apache License" in (moved.parents[1] / "share" / "doc" / "trireme" / "LICENSE").read_text()


@pytest.mark.skipif(not PACKAGES.is_relative_to(sys.prefix), reason="torch is not of this environment")
def test_it_finds_torch_in_the_environment_that_it_moved_with(moved):
    """On another machine: where it was built is no environment any more."""
    built_with, program = str(PACKAGES).encode(), moved.read_bytes()
    assert built_with in program
    moved.write_bytes(program.replace(built_with, b"/" + b"-" * (len(built_with) - 1)))
    alone = start(moved, "--version")
    assert alone.returncode == 127 and "libtorch_cpu.so" in alone.stderr
    top = PACKAGES.relative_to(sys.prefix).parts[0]  # lib
    (moved.parents[1] / top).symlink_to(pathlib.Path(sys.prefix) / top)
    assert start(moved, "--version").returncode == 0


def test_libraries_beside_it_come_first(moved):
    lib = moved.parents[1] / "lib"
    lib.mkdir()
    (lib / "libc10.so").symlink_to(TORCH / "lib" / "libc10.so")
    assert f"libc10.so => {moved.parent}/../lib/libc10.so" in start("ldd", moved).stdout
