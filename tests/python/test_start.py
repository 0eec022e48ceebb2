"""Which trireme it is, and how it starts."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from program import ROOT, binary, run

VERSION = re.search(r"project\(trireme VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text()).group(1)
in_git = pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="no git repository")


def git(*arguments):
    return subprocess.run(["git", "-C", ROOT, *arguments], check=True, capture_output=True).stdout


# What a verb prints.

@pytest.mark.parametrize("verb", [("--version",), ("--help",), ("data", "--help"),
                                  ("tokenize", "--tokenizer", ROOT / "sample" / "tokenizer"),
                                  ("data", "--data_file", ROOT / "sample" / "DMSC_sample.csv", "--tokenizer",
                                   ROOT / "sample" / "tokenizer"),
                                  ("data", "--data_file", ROOT / "sample" / "DMSC_sample.csv", "--tokenizer",
                                   ROOT / "sample" / "tokenizer", "--json")])
def test_a_result_that_does_not_arrive_is_an_error(verb):
    with open("/dev/full", "w") as full:
        done = subprocess.run([binary(), *map(str, verb)], input='"a"\n', stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("trireme: stdout: cannot write the result: ") and done.stderr.count("\n") == 1


def test_input_that_cannot_be_read_is_an_error(tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    run("tokenize", "--tokenizer", ROOT / "sample" / "tokenizer", stdin=folder, expect=2)
    os.close(folder)


# Help, and names of other programs.

def test_help_in_three_ways():
    assert run("help").stdout == run("--help").stdout
    text = run("help", "data").stdout
    assert text == run("data", "--help").stdout and text.index("First of all") < text.index("--config") < text.index("\nSamples")
    assert "unknown verb 'dat' (did you mean 'data'?)" in run("help", "dat", expect=2).stderr


def test_what_became_of_other_programs_names_is_logged():
    data = ("data", "--data_file", ROOT / "sample" / "DMSC_sample.csv", "--tokenizer", ROOT / "sample" / "tokenizer", "--json")
    done = run(*data, "--cutoff_len", 300, "--gradient_checkpointing", "true")
    assert done.stdout == run(*data, "--max_length", 300).stdout
    assert done.stderr.splitlines()[0] == "--cutoff_len 300 is --max_length 300"
    assert done.stderr.splitlines()[1].startswith("--gradient_checkpointing true: not needed: ")


# The version.

def test_version():
    assert re.fullmatch(rf"trireme {re.escape(VERSION)} \(commit (unknown|[0-9a-f]{{12}}), CUDA \S+, torch \d+\.\d+\)\n",
                        run("--version").stdout)


@in_git
def test_the_commit_is_the_one_checked_out():
    """ctest runs what was just built; by hand, build before."""
    assert f"commit {git('rev-parse', 'HEAD').decode()[:12]}," in run("--version").stdout


def commit_in(folder):
    """What a build of the sources in `folder` would say."""
    definitions = [f"-DSOURCE={folder}", f"-DOUT={folder}/version.cc", "-DVERSION=1.2.3", "-DCUDA=no", "-DTORCH=2.11"]
    subprocess.run(["cmake", *definitions, "-P", folder / "cmake" / "Version.cmake"], check=True)
    return re.search(r'commit\(\) \{ return "(\w+)"', (folder / "version.cc").read_text()).group(1)


@in_git
def test_an_archive_of_the_repository_knows_its_commit(tmp_path):
    archive = git("archive", "HEAD", "cmake", "src/base")
    subprocess.run(["tar", "-x", "-C", tmp_path], input=archive, check=True)
    assert commit_in(tmp_path) == git("rev-parse", "HEAD").decode()[:12]


def test_a_copy_of_the_sources_does_not_know_it(tmp_path):
    for folder in ("cmake", "src/base"):
        shutil.copytree(ROOT / folder, tmp_path / "copy" / folder)
    subprocess.run(["git", "init", "-q", tmp_path], check=False)  # the repository of a folder above is another's
    assert commit_in(tmp_path / "copy") == "unknown"


# OpenMP's threads.

def waiting(path=binary(), **variables):
    """What libgomp believes: its policy, and the turns that a thread spins."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run([path, "--version"], check=True, capture_output=True, text=True,
                          env={**others, "OMP_DISPLAY_ENV": "verbose", **variables})
    assert done.stdout.startswith("trireme ")
    return dict(re.findall(r"(OMP_WAIT_POLICY|GOMP_SPINCOUNT) = '(\w+)'", done.stderr))


def test_threads_spin_shortly():
    assert waiting() == {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "3000"}


@pytest.mark.parametrize("variables, expected", [
    ({"GOMP_SPINCOUNT": "77"}, ("PASSIVE", "77")), ({"OMP_WAIT_POLICY": "passive"}, ("PASSIVE", "0")),
    ({"OMP_WAIT_POLICY": "active"}, ("ACTIVE", "30000000000")),
    ({"OMP_NUM_THREADS": "1"}, ("PASSIVE", "300000"))])  # libgomp's default: nobody waits
def test_what_the_user_says_of_it_holds(variables, expected):
    assert tuple(waiting(**variables).values()) == expected


def test_it_starts_once_more_as_the_same_process_by_the_same_name(tmp_path):
    """And with the arguments and the folder that it had."""
    (tmp_path / "renamed").symlink_to(binary())
    process = subprocess.Popen(["./renamed", "tokenize", "--tokenizer", ROOT / "sample" / "tokenizer"], cwd=tmp_path,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                               env={name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"})
    process.stdin.write('"a"\n')
    process.stdin.flush()
    assert process.stdout.readline().startswith("[")
    status = pathlib.Path("/proc") / str(process.pid)
    assert (status / "comm").read_text() == "renamed\n"
    assert b"GOMP_SPINCOUNT=" in (status / "environ").read_bytes()
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_through_the_dynamic_loader_it_starts_as_it_is():
    loader = re.search(r"interpreter: (\S+?)\]", subprocess.run(["readelf", "-l", binary()], check=True, text=True,
                                                               capture_output=True).stdout).group(1)
    done = subprocess.run([loader, binary(), "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("trireme ")
