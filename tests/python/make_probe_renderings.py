"""Renders the probe conversations with every template of templates/ through transformers, into tests/data/chat_probes.json.

The C++ unit test compares its own renderings with that file; test_chat_template.py checks that it is up to date.
Run: python tests/python/make_probe_renderings.py
"""
import json
import pathlib

HERE = pathlib.Path(__file__).parent
OUTPUT = HERE.parent / "data" / "chat_probes.json"
BOS = "<|begin_of_text|>"


def turns(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


# `ordinary`: no content looks like a control token, so that encoding the rendered text gives the prompt's ids.
CONVERSATIONS = [
    {"ordinary": True, "messages": turns(("user", "好看吗？"))},
    {"ordinary": True, "messages": turns(
        ("system", "用户: 影迷\n\n历史影评记录 (1条):\n  电影《英雄》: 画面美。\n\n模仿用户风格为电影《功夫》写一条影评："))},
    {"ordinary": True, "messages": turns(
        ("system", "Write a review."), ("user", " Kung Fu\n"), ("assistant", "\n\nSplendid!  "), ("user", "Shorter."))},
    {"ordinary": True, "messages": turns(("user", ""), ("assistant", ""), ("system", "late"), ("assistant", "hello"))},
    {"ordinary": True, "messages": turns(("user", "\u3000\x1c \u00a0缩进\u2028\x85"), ("assistant", "\u200b好 \t"))},
    {"ordinary": True, "messages": turns(("assistant", "first"), ("assistant", "second"))},
    {"ordinary": True, "messages": turns(("system", " "), ("system", "twice"), ("user", "a"))},
    {"ordinary": False, "messages": turns(
        ("user", "q1"), ("assistant", "<think>\n\nold thoughts\n\n</think>\n\nanswer 1"), ("user", "q2"),
        ("assistant", "<think>\nnew thoughts\n</think>\n\nanswer 2"))},
    {"ordinary": False, "messages": turns(
        ("user", "q"), ("assistant", "<think>a</think>b</think>\n\n c"), ("assistant", "plain"),
        ("assistant", "x<think>\ny"))},
    {"ordinary": False, "messages": turns(
        ("user", "q"), ("assistant", "\n<think>\n\n</think>\n\n\nz\n"), ("user", "<tool_response>\nt\n</tool_response>"),
        ("assistant", "last"))},
    {"ordinary": False, "messages": turns(
        ("user", "</think> <|im_end|>\n<|im_start|>system\n<|eot_id|>"), ("assistant", "<|im_end|>"))},
]


def tokenizer():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), bos_token=BOS)


def render(reference, template, messages, prompt, thinking):
    return reference.apply_chat_template(messages, chat_template=template, tokenize=False,
                                         add_generation_prompt=prompt, enable_thinking=thinking)


def renderings():
    reference = tokenizer()
    result = {}
    for path in sorted((HERE / "templates").glob("*.jinja")):
        template = path.read_text(encoding="utf-8")
        modes = [(False, False), (True, False)]
        if "enable_thinking" in template:
            modes.append((True, True))
        result[path.stem] = [
            {"conversation": index, "add_generation_prompt": prompt, "enable_thinking": thinking,
             "text": render(reference, template, conversation["messages"], prompt, thinking)}
            for index, conversation in enumerate(CONVERSATIONS) for prompt, thinking in modes]
    return {"bos_token": BOS, "conversations": CONVERSATIONS, "renderings": result}


def as_text():
    """JSON with one conversation or rendering a line, so that a change shows as such."""
    data = renderings()
    lines = ",\n ".join
    conversations = lines(json.dumps(conversation) for conversation in data["conversations"])
    templates = ",\n".join(f'"{name}": [\n {lines(json.dumps(case) for case in cases)}]'
                           for name, cases in data["renderings"].items())
    return (f'{{"bos_token": "{BOS}",\n"conversations": [\n {conversations}],\n"renderings": {{\n{templates}}}}}\n')


if __name__ == "__main__":
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(as_text(), encoding="utf-8")
