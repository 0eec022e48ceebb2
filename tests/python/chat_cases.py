"""Conversations that chat templates are rendered with, by this program and by transformers.

Run it on folders of templates (*.jinja, also in folders within):
    python tests/python/chat_cases.py build/bin/render_template FOLDER ...
It prints each template that renders otherwise than with transformers, and the counts.
"""
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import time

from transformers.utils.chat_template_utils import render_jinja_template

TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
TOOL = {"type": "function", "function": {
    "name": "get_weather", "description": "Weather <of> a city & its \"surroundings\".", "parameters": {
        "type": "object", "required": ["city"], "properties": {
            "city": {"type": "string", "description": "天气在哪里"},
            "days": {"type": "integer", "description": "how many", "enum": [1, 2, 3]},
            "unit": {"type": ["string", "null"], "default": None}}}}}


def turns(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


def call(arguments):
    return {"role": "assistant", "content": "", "tool_calls": [
        {"id": "call00001", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}]}


def parts(text):
    return [{"type": "text", "text": text}]


CONVERSATIONS = {
    "one user turn": turns(("user", "Hello, world")),
    "system, user, assistant": turns(("system", "You write reviews."), ("user", "Of Heat?"), ("assistant", "Yes.")),
    "five turns": turns(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")),
    "system and five turns": turns(("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")),
    "two users in a row": turns(("user", "first"), ("user", "second")),
    "system alone": turns(("system", "用户: 影迷\n\n历史影评记录 (1条):\n  电影《英雄》: 画面美。")),
    "assistant first": turns(("assistant", "I begin."), ("user", "Why?")),
    "parts": [{"role": "system", "content": parts("sys")}, {"role": "user", "content": parts("one") + parts(" two")},
              {"role": "assistant", "content": parts("three")}, {"role": "user", "content": parts("four")}],
    "tool call": turns(("user", "Weather?")) + [call({"city": "Paris é", "days": 2, "unit": None})] + [
        {"role": "tool", "name": "get_weather", "tool_call_id": "call00001", "content": '{"t": 21.5}'}]
        + turns(("assistant", "21.5 degrees"), ("user", "Thanks")),
    "tool call as text": turns(("user", "Weather?")) + [call('{"city": "Paris"}')] + [
        {"role": "tool", "name": "get_weather", "tool_call_id": "call00001", "content": "21 degrees"}],
    "reasoning": turns(("user", "q1"), ("assistant", "<think>\nold\n</think>\n\nanswer 1"), ("user", "q2")) + [
        {"role": "assistant", "reasoning_content": "deep thoughts", "content": "answer 2"}],
    "empty assistant": turns(("user", "q"), ("assistant", ""), ("user", "again")),
    "Chinese": turns(("system", "你是影评人。"), ("user", "好看吗？“是”\u3000"), ("assistant", "好看！😀 e\u0301")),
    "white space": turns(("system", " \n s \t"), ("user", "\n  a \r\n b\u2028 \n\n"), ("assistant", "\n\n c \x1c")),
    "markup": turns(("user", "<|x|> {{ 7*7 }} {% raw %} {# c #} 'quoted' \\n \"double\" & <b>")),
    "late system": turns(("user", "a"), ("assistant", "b"), ("system", "now briefly"), ("user", "c")),
    "none": [{"role": "user", "content": "a"}, {"role": "assistant", "content": None}],
    "no messages": [],
}
WITH_TOOLS = ("one user turn", "system, user, assistant", "tool call", "tool call as text")


def control_tokens(template):
    return sorted(set(re.findall(r"<\|[^|<>{}'\" ]*\|>|</?[a-z_]+>|\[/?[A-Z_]+\]|<｜[^｜]*｜>", template)))


def cases(template):
    """The variables of each rendering."""
    conversations = dict(CONVERSATIONS)
    tokens = " ".join(control_tokens(template))
    conversations["control tokens"] = turns(("system", tokens), ("user", tokens + "{{ 7*7 }}"), ("assistant", "x"),
                                            ("user", tokens))
    thinking = [{}]
    if "enable_thinking" in template:
        thinking = [{}, {"enable_thinking": False}, {"enable_thinking": True}]
    for (name, messages), prompt, extra in itertools.product(conversations.items(), (False, True), thinking):
        tools = [[TOOL], None] if name in WITH_TOOLS else [None]
        for tool in tools:
            yield f"{name}, prompt {prompt}, {extra}, tools {tool is not None}", {
                "messages": messages, "tools": tool, "documents": None, "add_generation_prompt": prompt, **TOKENS, **extra}


def reference(template, variables):
    """What transformers renders, in the form of render_template; "raised" says that the template itself refuses."""
    variables = json.loads(json.dumps(variables))
    messages = variables.pop("messages")
    try:
        rendered, spans = render_jinja_template([messages], chat_template=template, **variables,
                                                return_assistant_tokens_mask="generation" in template)
    except Exception as error:  # whatever a template can make jinja2 raise
        return {"error": str(error), "raised": type(error).__name__ == "TemplateError"}
    return {"text": rendered[0], "generated": spans[0] if spans else []}


class Renderer:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")

    def __call__(self, template, variables):
        request = {"template": template, "variables": variables, "now": int(time.time())}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        return self.process.wait()


def places(spans):
    # transformers counts a span that holds nothing, and two that follow one another as two.
    return {place for span in spans for place in range(*span)}


def difference(template, variables, mine):
    """What is wrong with a rendering; None where nothing is."""
    theirs = reference(template, variables)
    if "error" in theirs:
        if "error" not in mine:
            return f"{mine['text'][-200:]!r}, transformers raises {theirs['error']!r}"
        said = mine["error"].removeprefix("template: the chat template refuses the messages: ")
        if theirs["raised"] and not said.startswith(theirs["error"].split("\n")[0][:200]):  # in one line, not too long
            return f"raised {said!r}, transformers {theirs['error']!r}"
        return None
    if "error" in mine:
        # Python shows the address of what has no text of its own, which no two runs share.
        return None if " at 0x" in theirs["text"] else f"{mine['error']!r}, transformers renders {theirs['text'][-200:]!r}"
    if mine["text"] != theirs["text"]:
        at = len(os.path.commonprefix([mine["text"], theirs["text"]]))
        around = slice(max(0, at - 30), at + 60)
        return f"at {at}: {mine['text'][around]!r}, transformers {theirs['text'][around]!r}"
    if places(mine["generated"]) != places(theirs["generated"]):
        return f"generated {mine['generated']}, transformers {theirs['generated']}"
    return None


def foreign(variables, mine):
    """Runs that are said to be the template's but are what only a message says; None where there are none."""
    said = [str(message["content"]) for message in variables["messages"] if isinstance(message.get("content"), str)]
    unique = [text.strip() for text in said if len(text.strip()) > 12]
    for author, text in mine["runs"]:
        if author == "template" and any(what in text for what in unique):
            return f"a run of the template holds {text!r}"
    return None


def faults(render, template):
    """What is wrong with the renderings of a template, a line each."""
    wrong = []
    for name, variables in cases(template):
        mine = render(template, variables)
        fault = difference(template, variables, mine) or ("runs" in mine and foreign(variables, mine))
        if fault:
            wrong.append(f"{name}: {fault}")
    return wrong


def main(program, folders):
    render = Renderer(program)
    paths = sorted(path for folder in folders for path in pathlib.Path(folder).rglob("*.jinja"))
    wrong = {path: faults(render, path.read_text(encoding="utf-8")) for path in paths}
    for path in paths:
        for fault in wrong[path][:3]:
            print(f"{path}: {fault}", flush=True)
    print(f"{len(paths)} templates, {sum(not wrong[path] for path in paths)} as transformers renders them")
    return render.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
