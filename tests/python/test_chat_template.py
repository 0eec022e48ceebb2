"""Chat templates against transformers: the same text, the same spans of {% generation %}, the same refusals.

The templates are those of templates/ and those that packages of the environment bring (trl). More are read from the
folders in TRIREME_TEMPLATES, with : between. Prompts and answers of the program itself are tested in test_data.py.
"""
import importlib.util
import os
import pathlib
import random

import pytest

import chat_cases
import snippets

HERE = pathlib.Path(__file__).parent


def folders():
    yield HERE / "templates"
    if (trl := importlib.util.find_spec("trl")) is not None:
        yield pathlib.Path(trl.origin).parent / "chat_templates"
    yield from (pathlib.Path(folder) for folder in os.environ.get("TRIREME_TEMPLATES", "").split(":") if folder)


TEMPLATES = {f"{folder.name}/{path.stem}": path for folder in folders() for path in sorted(folder.rglob("*.jinja"))}


@pytest.fixture(scope="module")
def render():
    renderer = chat_cases.Renderer(pathlib.Path(os.environ["TRIREME"]).parent / "render_template")
    yield renderer
    assert renderer.close() == 0


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_render_as_with_transformers(render, name):
    template = TEMPLATES[name].read_text(encoding="utf-8")
    assert chat_cases.faults(render, template) == []


@pytest.mark.parametrize("group", snippets.GROUPS)
def test_constructs_render_as_with_transformers(render, group):
    variables = {**snippets.VARIABLES, "messages": []}
    wrong = [(snippet, chat_cases.difference(snippet, variables, render(snippet, variables))) for snippet in snippets.GROUPS[group]]
    assert [pair for pair in wrong if pair[1] is not None] == []


def test_white_space_around_tags_is_that_of_jinja2(render):
    """Random sequences of tags, signs, line breaks and spaces."""
    pieces = ["{%", "{%-", "{%+"], ["if a", "set b = 1", "endif", "raw", "endraw"], ["%}", "-%}", "+%}"]
    rng = random.Random(7)
    for _ in range(400):
        parts = []
        for _ in range(rng.randint(1, 6)):
            parts.append(rng.choice(["", " ", "\n", "  \n", "x", " x ", "\n\n ", "\t", "\r\n", "\u3000"]))
            kind = rng.random()
            if kind < 0.3:
                begin, end = rng.choice(pieces[0]), rng.choice(pieces[2])
                parts.append(f"{begin} if a {end}{rng.choice(['y', ' ', chr(10), ' ' + chr(10)])}"
                             f"{rng.choice(pieces[0])} endif {rng.choice(pieces[2])}")
            elif kind < 0.5:
                parts.append(f"{rng.choice(pieces[0])} set b = 1 {rng.choice(pieces[2])}")
            elif kind < 0.7:
                parts.append(f"{rng.choice(['{#', '{#-', '{#+'])} c {rng.choice(['#}', '-#}', '+#}'])}")
            elif kind < 0.85:
                parts.append(f"{rng.choice(['{{', '{{-', '{{+'])} a {rng.choice(['}}', '-}}'])}")
            else:
                parts.append(f"{rng.choice(['{%', '{%-'])} raw {rng.choice(['%}', '-%}'])} {{{{ x }} "
                             f"{rng.choice(pieces[0])} endraw {rng.choice(pieces[2])}")
        template, variables = "".join(parts), {"messages": [], "a": 1}
        assert chat_cases.difference(template, variables, render(template, variables)) is None, template


def test_what_raises_says_the_same(render):
    template = "{% if messages|length > 1 %}{{ raise_exception('at most one: ' ~ messages|length) }}{% endif %}"
    mine = render(template, {"messages": chat_cases.turns(("user", "a"), ("user", "b"))})
    assert mine == {"error": "template: the chat template refuses the messages: at most one: 2"}
