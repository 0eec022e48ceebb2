"""Input that was made to do harm: it is refused with exit status 2 and one short line that a terminal shows as it is,
within seconds. The verbs here share their readers with `train`."""
import json
import os

import pytest
from program import ROOT, run

TOKENIZER = ROOT / "sample" / "tokenizer"
DATA = ROOT / "sample" / "DMSC_sample.csv"


def assert_refused(*arguments, says, **options):
    done = run(*arguments, expect=2, timeout=20, **options)
    assert done.stderr.startswith("trireme: ") and len(done.stderr.splitlines()) == 1, done.stderr[:3000]
    assert len(done.stderr.encode()) < 1100 and done.stderr.rstrip("\n").isprintable()
    assert says in done.stderr


@pytest.mark.parametrize("text, says", [
    pytest.param(*row, id=row[1][:30]) for row in [
        ('{"training": ' + "[" * 100_000, "c.json:1:113: nested more than 100 levels deep"),
        ('{"training": ' + '{"a":' * 50_000, "c.json:1:509: nested more than 100 levels deep"),
        ("{" + ",".join(f'"k{i}": 1' for i in range(80_000)) + "}", "c.json:1:2: k0: unknown section"),
        (json.dumps({"a\nb\u2028c\x1b[31m": 1}), "c.json:1:2: a\\x0ab\\u2028c\\x1b[31m: unknown section"),
        (json.dumps({"k" * 500_000: 1}), "kkk: unknown section"),
        (json.dumps({"training": {"prompt_style": "v" * 500_000}}), "vvv' is not known: simple or detailed is expected"),
        (" " * (2 << 20) + "{}", "c.json: 2.00 MiB long, at most 1.00 MiB are expected"),
        (json.dumps({"data": {"train_path": "d\x00.csv"}}), "'d\\x00.csv' has a NUL"),
    ]])
def test_run_config(tmp_path, text, says):
    (tmp_path / "c.json").write_text(text)
    assert_refused("data", "--config", "c.json", "--tokenizer", TOKENIZER, cwd=tmp_path, says=says)


@pytest.mark.parametrize("name", ["pipe", "/dev/zero", "/dev/full"])
@pytest.mark.parametrize("option", ["--config", "--data_file"])
def test_what_is_no_regular_file(tmp_path, name, option):
    os.mkfifo(tmp_path / "pipe")
    assert_refused("data", "--data_file", DATA, option, name, "--tokenizer", TOKENIZER, cwd=tmp_path,
                   says="not a regular file")


def test_a_path_that_is_not_utf8(tmp_path):
    (tmp_path / os.fsdecode(b"d\xff.csv")).write_bytes(DATA.read_bytes())
    assert_refused("data", "--data_file", os.fsdecode(b"d\xff.csv"), "--tokenizer", TOKENIZER, cwd=tmp_path,
                   says="--data_file: 'd\\xff.csv' is not UTF-8")


def test_a_path_longer_than_the_system_allows(tmp_path):
    assert_refused("data", "--data_file", "d" * 100_000, "--tokenizer", TOKENIZER, cwd=tmp_path, says="ddd: cannot read")


def split_pattern(pattern):
    def change(text):
        tokenizer = json.loads(text)
        step = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
            step, {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]}
        return json.dumps(tokenizer)
    return change


@pytest.mark.parametrize("change, says", [
    pytest.param(*row, id=row[1][:30]) for row in [
        (split_pattern(r"(?:\p{L}+\s?)+\d"), r"pattern '(?:\p{L}+\s?)+\d' gives up on a text of 90000 bytes"),
        (lambda text: text.rstrip()[:-1] + ', "added_tokens": []}', "the key 'added_tokens' is given twice"),
        (lambda text: text + "\0", "a NUL byte"),
        (lambda text: text.rstrip()[:-1] + ', "more": ' + "[" * 100_000, "nested more than 100 levels deep"),
    ]])
def test_tokenizer(tmp_path, change, says):
    (tmp_path / "tokenizer.json").write_text(change((TOKENIZER / "tokenizer.json").read_text()))
    assert_refused("tokenize", "--tokenizer", tmp_path, input=json.dumps("ab " * 30_000) + "\n", says=says)
