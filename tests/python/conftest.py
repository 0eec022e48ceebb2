import pathlib
import sys

import program
import pytest


@pytest.fixture(scope="session", autouse=True)
def trireme():
    path = pathlib.Path(program.binary())
    if not path.exists():
        pytest.fail(f"{path} is not there: set TRIREME to the program, or run ./dev build")
    return str(path)


@pytest.fixture(scope="session", autouse=True)
def one_thread_for_the_reference():
    """For models as small as the tests' a second thread mostly waits for the first, long where the cores are busy."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
