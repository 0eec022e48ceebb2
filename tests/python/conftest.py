import pathlib

import program
import pytest


@pytest.fixture(scope="session", autouse=True)
def trireme():
    path = pathlib.Path(program.binary())
    if not path.exists():
        pytest.fail(f"{path} is not there: set TRIREME to the program, or run ./dev build")
    return str(path)
