"""Which trireme it is."""
import re
import shutil
import subprocess
import sys

import pytest
from program import ROOT, run

VERSION = re.search(r"project\(trireme VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text()).group(1)
in_git = pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="no git repository")


def git(*arguments):
    return subprocess.run(["git", "-C", ROOT, *arguments], check=True, capture_output=True).stdout


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
