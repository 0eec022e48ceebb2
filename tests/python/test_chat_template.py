"""The stored renderings that the C++ unit test compares with are what transformers renders, for every template fixture."""
import json
import pathlib

import pytest

import make_probe_renderings as probes

STORED = json.loads(probes.OUTPUT.read_text(encoding="utf-8"))
TEMPLATES = sorted(path.stem for path in (pathlib.Path(__file__).parent / "templates").glob("*.jinja"))


def test_every_template_is_stored():
    assert sorted(STORED["renderings"]) == TEMPLATES
    assert STORED["conversations"] == probes.CONVERSATIONS


@pytest.fixture(scope="module")
def current():
    return probes.renderings()["renderings"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_stored_renderings_are_those_of_transformers(current, name):
    assert STORED["renderings"][name] == current[name]


def test_the_file_is_as_the_script_writes_it():
    assert probes.OUTPUT.read_text(encoding="utf-8") == probes.as_text()
