"""`trireme tokenize` against the `tokenizers` package: ids and decodings, for tokenizers of the three families trained here."""
import json
import os
import random
import subprocess
import unicodedata

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

TRIREME = os.environ["TRIREME"]
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
ADDED = [AddedToken("<|im_start|>", special=True, normalized=False), AddedToken("<|im_end|>", special=True, normalized=False),
         AddedToken("<|im_end|>>", special=True, normalized=False), AddedToken("<think>", normalized=False),
         AddedToken("【剧透】", normalized=False), AddedToken("é!", normalized=False),
         AddedToken("<l>", lstrip=True, normalized=False), AddedToken("<r>", rstrip=True, normalized=False),
         AddedToken("étoile", normalized=True)]

CORPUS = [
    "这部电影真的很好看，画面美，音乐也好，推荐给大家！", "剧情拖沓，演员的演技不行，浪费时间，两星。", "電影《西遊伏妖篇》很難看……",
    "看完《复仇者联盟》之后，我觉得特效很好，但是故事一般。", "2017年3月15日 第12次看，打8.5分", "为什么有人说不好看呢？？？我不明白！！！",
    "It's one of the best films I've seen; they're great, we'll watch it again, I'd say.", "The story isn't new, but the acting was fine.",
    "    for (int i = 0; i < 10; ++i) { sum += i; }\n\n\treturn sum;\r\n", "Über café naïve Ελληνικά русский 한국어 日本語のレビュー",
] * 20

HANDPICKED = [
    "", "a", " ", "\n", "\r\n", "  ", "   a", "a   b", "a \n b", "\n\n\nfoo", "tab\tx", "Hello, world!",
    "I'm we'll THEY'RE don't 'ſ 'S", "'ſa 'K", "abc123def", "2017-03-15 3.14 １２３ ²³ Ⅷ", "你好，世界！", "電影《西遊伏妖篇》很難看",
    "！！！？？？……——", "（笑）【剧透】《》“”‘’", "ＡＢＣ　全角　空格", "好看\n\n不好看\r\n一般", "👍🏽👨‍👩‍👧‍👦🇨🇳 ❤️", "e\u0301 é \u1100\u1161\u11a8 가\u11a8 \uf900",
    "a\u0315\u0300b", "<|im_start|>user\n好<|im_end|>", "<|im_end|>><|im_end", "x <l> y <r> \n z<l><r>", "<think>\n\n</think>", "e\u0301toile étoile",
    "\u180e \u200b \u0085 \u2028 \u3000 \xa0", "\0\x01\x7f", "a\u0000b", "١٢٣ ४५६ ½ ⅷ 𝟘𝟙", "\U0010ffff\ue000\ufffd", "ﬁ ﬆ 'ﬆ ŉ ß ẞ İ ı",
    "好" * 300, "ab" * 400, " " * 500 + "x", "\n \n" * 100, "1234567890" * 30, "a\u0301" * 100,
]

# PCRE2 10.42 has the classes of Unicode 14, the reference's Oniguruma those of a later version: letters, marks and digits
# assigned since (rare scripts, and ideographs outside of the common planes) are left out of the random strings.
AFTER_UNICODE_14 = [
    (0x897, 0x897), (0xCF3, 0xCF3), (0xECE, 0xECE), (0x1C89, 0x1C8A), (0xA7CB, 0xA7DC), (0x105C0, 0x105F3), (0x10D40, 0x10D85),
    (0x10EC2, 0x10EC4), (0x10EFC, 0x10EFF), (0x1123F, 0x11241), (0x11380, 0x113E2), (0x116D0, 0x116E3), (0x11BC0, 0x11BF9),
    (0x11F00, 0x11F5A), (0x1342F, 0x1342F), (0x13440, 0x143FA), (0x16100, 0x16139), (0x16D40, 0x16D79), (0x18CFF, 0x18CFF),
    (0x1B132, 0x1B132), (0x1B155, 0x1B155), (0x1CCF0, 0x1CCF9), (0x1D2C0, 0x1D2D3), (0x1DF25, 0x1DF2A), (0x1E030, 0x1E06D),
    (0x1E08F, 0x1E08F), (0x1E4D0, 0x1E4F9), (0x1E5D0, 0x1E5FA), (0x2B739, 0x2B739), (0x2EBF0, 0x2EE5D), (0x31350, 0x323AF)]


def splitter(numbers):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(WORDS + numbers + REST), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def train(normalizer, pre_tokenizer):
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, special_tokens=["<|endoftext|>"]))
    tokenizer.add_tokens(ADDED)
    return json.loads(tokenizer.to_str())


def qwen_like():
    return train(normalizers.NFC(), splitter(r"\p{N}"))


def llama_like():
    """ignore_merges, with entries that no merge leads to; merges as strings, as older files have them."""
    data = train(None, splitter(r"\p{N}{1,3}"))
    vocabulary = data["model"]["vocab"]
    new = [entry for entry in ("123", "ĠHello", "ä½łå¥½", "unreachable", "!!!", "ĠĠĠ") if entry not in vocabulary]
    for token in data["added_tokens"]:  # the reference gives added tokens the ids behind the vocabulary
        token["id"] += len(new) if token["id"] >= len(vocabulary) else 0
    vocabulary.update({entry: len(vocabulary) + i for i, entry in enumerate(new)})
    data["model"]["ignore_merges"] = True
    data["model"]["merges"] = [" ".join(merge) for merge in data["model"]["merges"]]
    return data


def gpt2_like():
    return train(None, pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]))


def gpt2_plain():
    return train(None, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True))


FAMILIES = {"qwen": qwen_like, "llama3": llama_like, "smollm": gpt2_like, "gpt2": gpt2_plain}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    text = json.dumps(FAMILIES[request.param](), ensure_ascii=False)
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    return folder, Tokenizer.from_str(text)


def run(folder, lines, *options):
    done = subprocess.run([TRIREME, "tokenize", "--tokenizer", str(folder), *options], input="".join(line + "\n" for line in lines),
                          capture_output=True, encoding="utf-8")
    return done.returncode, done.stdout.split("\n")[:-1], done.stderr


def assert_same(folder, reference, texts):
    status, lines, error = run(folder, [json.dumps(text) for text in texts])
    assert (status, error, len(lines)) == (0, "", len(texts))
    ids = [json.loads(line) for line in lines]
    for text, mine in zip(texts, ids):
        assert mine == reference.encode(text, add_special_tokens=False).ids, ascii(text)
    assert_same_text(folder, reference, ids)


def assert_same_text(folder, reference, ids):
    status, lines, error = run(folder, [json.dumps(one) for one in ids], "--decode")
    assert (status, error, len(lines)) == (0, "", len(ids))
    for one, line in zip(ids, lines):
        assert json.loads(line) == reference.decode(one, skip_special_tokens=False), one


def composes_as_in_the_reference(character):
    """False for the marks that are newer than the reference's normaliser (about Unicode 10), which it does not reorder."""
    reference = normalizers.NFC()
    probes = [f"a\u0315{character}b", f"a\u0334{character}b", f"a\u05b0{character}\u0300b", unicodedata.normalize("NFD", character)]
    return all(reference.normalize_str(probe) == unicodedata.normalize("NFC", probe) for probe in probes)


def assigned():
    new = {code for first, last in AFTER_UNICODE_14 for code in range(first, last + 1)}
    characters = [chr(code) for code in range(0x110000) if code not in new and unicodedata.category(chr(code)) not in ("Cn", "Cs")]
    return [c for c in characters if unicodedata.combining(c) == 0 and not unicodedata.decomposition(c) or composes_as_in_the_reference(c)]


def random_strings(seed, count):
    """Runs of characters of a kind, the kinds mixed: assigned code points of all planes, and more of those that matter."""
    rng = random.Random(seed)
    everything = assigned()
    by_category = {}
    for character in everything:
        by_category.setdefault(unicodedata.category(character), []).append(character)
    kinds = [everything, [chr(c) for c in range(0x20, 0x7F)], [chr(c) for c in range(0x4E00, 0xA000)], list(" \t\n\r\x0b\x0c\x85\xa0\u2003\u2028\u3000\u180e\u200b"),
             list("'ſsStTrReEvVmMlLdD "), list("，。！？、；：“”（）《》…—"), [chr(c) for c in range(0x1100, 0x1200)] + [chr(c) for c in range(0xAC00, 0xAD00)],
             [c for c in everything if unicodedata.combining(c)], list("aeiouAEIOU\u0300\u0301\u0308\u0327"),
             ["<|im_start|>", "<|im_end|>", "<|im_end|>>", "<think>", "【剧透】", "é!", "<l>", "<r>", "étoile", "e\u0301toile", "<|", " "],
             ["hello", " 123", "这部电影", "It's", "\r\n"], *by_category.values()]
    return ["".join("".join(rng.choice(kind) for _ in range(rng.randint(1, 8))) for kind in rng.choices(kinds, k=rng.randint(1, 6)))
            for _ in range(count)]


def test_handpicked_strings(family):
    assert_same(*family, HANDPICKED)


def test_random_strings(family):
    assert_same(*family, random_strings(1, 5000))


def test_random_ids_decode_alike(family):
    """Ids in any order: broken UTF-8 becomes U+FFFD as in the reference."""
    folder, reference = family
    rng = random.Random(2)
    size = reference.get_vocab_size()
    assert_same_text(folder, reference, [[rng.randrange(size) for _ in range(rng.randint(0, 12))] for _ in range(3000)])
    few = [reference.token_to_id(entry) for entry in "äåæéð½łĠĨĤ¢¬Ł" if reference.token_to_id(entry) is not None]
    assert_same_text(folder, reference, [[rng.choice(few) for _ in range(rng.randint(1, 8))] for _ in range(3000)])


def test_a_megabyte_in_one_line(family):
    folder, reference = family
    texts = ["好看" * 170_000, "ab" * 500_000, " " * 1_000_000, "x" * 1_000_000 + "'", "!?" * 500_000, "<" * 1_000_000]
    status, lines, error = run(folder, [json.dumps(text) for text in texts])
    assert (status, error) == (0, "")
    for text, line in zip(texts, lines):
        assert reference.decode(json.loads(line), skip_special_tokens=False) == text


@pytest.mark.parametrize("line,options,complaint", [
    ("{", (), "stdin:2: not a JSON string: '{'"),
    ("", (), "stdin:2: not a JSON string: ''"),
    ("5", (), "stdin:2: expected a JSON string, found number"),
    ('"\\ud800"', (), "stdin:2: not a JSON string: '\"\\ud800\"'"),
    ("[1, 100000]", ("--decode",), "stdin:2: 100000 is no token id: ids are integers from 0 to "),
    ("[-1]", ("--decode",), "stdin:2: -1 is no token id"),
    ("[1.5]", ("--decode",), "stdin:2: 1.5 is no token id"),
    ('"a"', ("--decode",), "stdin:2: expected a JSON array, found string"),
])
def test_bad_lines_are_named(family, line, options, complaint):
    status, _, error = run(family[0], ["[1]" if options else '"a"', line], *options)
    assert status == 2
    assert complaint in error and error.count("\n") == 1


def test_bad_folder_is_named(tmp_path):
    status, lines, error = run(tmp_path, ['"a"'])
    assert status == 2 and lines == [] and f"{tmp_path}/tokenizer.json" in error and error.count("\n") == 1
