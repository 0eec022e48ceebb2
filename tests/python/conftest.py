import functools
import pathlib
import signal
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
def no_signal_is_ignored():
    """Shells ignore SIGINT for what they start in the background, and nohup SIGHUP; the program would too."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)  # ignored here, not by children


@pytest.fixture(scope="session", autouse=True)
def one_thread_for_the_reference():
    """For models as small as the tests' a second thread mostly waits for the first, long where the cores are busy."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """folder(name): a tiny model's folder, made once. Modules with one model have a fixture of their own by this name."""
    import tiny_models  # and with it transformers, seconds that not every module needs

    return functools.cache(lambda name: tiny_models.make(name, tmp_path_factory.mktemp(name) / "model"))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")
