"""`trireme tokenize` against the `tokenizers` package and transformers: tokenizers of the SentencePiece
kind (Llama-2, Mistral, Yi, Gemma, Phi-3) and other pre-tokenizers, added tokens of all flags and from all files, what
the post-processor adds."""
import functools
import json
import random
import unicodedata

import pytest
from test_tokenizer import CORPUS, HANDPICKED, random_strings, run
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
NAMED = ["<unk>", "<s>", "</s>"]
SPACES = normalizers.Replace(" ", "▁")
FLAGS = [AddedToken("<|end|>", special=True, normalized=False, rstrip=True), AddedToken("<mask>", lstrip=True, normalized=False),
         AddedToken("还可以"), AddedToken("word", single_word=True, normalized=False), AddedToken("é!", normalized=True),
         AddedToken("《", single_word=True, rstrip=True), AddedToken("  ", normalized=False)]


def spaces_back(strip=True):
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence(steps + [decoders.Strip(" ", 1, 0)] * strip)


def sentencepiece(normalizer, pre_tokenizer, decoder, byte_fallback=True, **model):
    """Trained on words; the tokens of bytes are entries like others, as conversions from SentencePiece have them."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=byte_fallback, **model))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=900, show_progress=False, limit_alphabet=150,
                                                              special_tokens=NAMED + BYTES * byte_fallback))
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = data["added_tokens"][:len(NAMED)]
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizer, pre_tokenizer, decoder
    tokenizer.add_tokens(FLAGS)
    return tokenizer


def bytes_kind(*steps, normalizer=None, prefix=False, regex=False, level=True):
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    steps = [*steps] + [pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)] * level
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=800, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.add_tokens(FLAGS)
    return tokenizer


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


KINDS = {
    "llama2": lambda: sentencepiece(normalizers.Sequence([normalizers.Prepend("▁"), SPACES]), None, spaces_back(), fuse_unk=True),
    "mistral": lambda: sentencepiece(None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False), spaces_back(),
                                     fuse_unk=True),
    "always": lambda: sentencepiece(None, pre_tokenizers.Metaspace(), decoders.Metaspace(), ignore_merges=True),
    "never": lambda: sentencepiece(normalizers.NFKC(), pre_tokenizers.Metaspace(prepend_scheme="never"),
                                   decoders.Metaspace(prepend_scheme="never")),
    "gemma": lambda: sentencepiece(SPACES, pre_tokenizers.Split(" ", "merged_with_previous"), spaces_back(strip=False),
                                   fuse_unk=True),
    "unknown": lambda: sentencepiece(SPACES, None, decoders.Fuse(), byte_fallback=False, fuse_unk=False),
    "unknown_fused": lambda: sentencepiece(SPACES, pre_tokenizers.Metaspace(), None, byte_fallback=False, fuse_unk=True),
    "deepseek": lambda: bytes_kind(split(r"[\r\n]"), split(r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓ]+"), split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
                                   split(r"\s+$"), split("[一-龥가-퟿]+"), pre_tokenizers.Digits(individual_digits=True)),
    "phi4": lambda: bytes_kind(split(r"\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+$|\s+(?!\S)|\s+", "removed", invert=True)),
    "prefixed": lambda: bytes_kind(pre_tokenizers.Punctuation("contiguous"), prefix=True, regex=True),
    "falcon": lambda: bytes_kind(pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False),
                                 pre_tokenizers.Digits(individual_digits=False), split("[0-9][0-9][0-9]"), level=False),
    "smollm": lambda: bytes_kind(pre_tokenizers.Digits(individual_digits=True), regex=True),
    "stripped": lambda: sentencepiece(normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(Regex("\\s{2,}"), "_"),
                                                            normalizers.Strip(left=True, right=True), SPACES]), None, spaces_back()),
    "whitespace": lambda: sentencepiece(None, pre_tokenizers.Whitespace(), decoders.Fuse()),
    "whitespace_split": lambda: sentencepiece(None, pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]), decoders.Metaspace()),
    "compatible": lambda: bytes_kind(split("[aeiou]", "merged_with_next"), split("o", "merged_with_previous"),
                                     normalizer=normalizers.Sequence([normalizers.NFKD(), normalizers.NFC()])),
}


@functools.cache
def saved(kind):
    return KINDS[kind]().to_str()


@functools.cache
def strings():
    rng = random.Random(3)
    words = [token.content for token in FLAGS] + ["<s>", "</s>", "<unk>", "a", "好", " ", "▁", "\n", "e\u0301!", "<0x41>"]
    mixed = ["".join(rng.choice(words) for _ in range(rng.randint(1, 9))) for _ in range(600)]
    return HANDPICKED + mixed + random_strings(4, 5000 - len(HANDPICKED) - len(mixed))


@functools.cache
def of_another_unicode():
    """Characters that the reference's NFKC or Punctuation, whose tables are older, treats otherwise than Python."""
    nfkc, punctuation = normalizers.NFKC(), pre_tokenizers.Punctuation()

    def alike(c):
        cut = len(punctuation.pre_tokenize_str(f"a{c}")) > 1
        return nfkc.normalize_str(c) == unicodedata.normalize("NFKC", c) and (
            cut == (unicodedata.category(c)[0] == "P") or c.isascii())
    return {c for c in set("".join(strings())) if not alike(c)}


def strings_for(kind):
    skipped = of_another_unicode() if kind in ("never", "compatible", "prefixed") else set()
    return [text for text in strings() if skipped.isdisjoint(text)]


def ids_of(folder, texts):
    status, lines, error = run(folder, [json.dumps(text) for text in texts])
    assert (status, error) == (0, "")
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_text_of_random_strings(kind, tmp_path):
    reference = Tokenizer.from_str(saved(kind))
    reference.save(str(tmp_path / "tokenizer.json"))
    texts = strings_for(kind)
    ids = ids_of(tmp_path, texts)
    assert len(texts) > 3000
    for text, mine in zip(texts, ids):
        assert mine == reference.encode(text).ids, ascii(text)
    status, lines, error = run(tmp_path, [json.dumps(one) for one in ids], "--decode")
    assert (status, error) == (0, "")
    for one, line in zip(ids, lines):
        assert json.loads(line) == reference.decode(one, skip_special_tokens=False), one


def write(folder, name, data):
    (folder / name).write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")


TEXTS = ["", "a <new> b<s>", "还可以<old>  x", "<pad>还可以word", "这部电影<tool>\n", "<new><new> <bos>"]


def listed(content, **flags):
    return {"content": content, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": False,
            **flags}


FILES = {
    "listed": {"tokenizer_config.json": lambda n: {"added_tokens_decoder": {
        str(n): listed("<new>", rstrip=True), str(n + 1): listed("<tool>", special=True), "1": listed("<s>", special=True)},
        "pad_token": "<tool>"}},
    "named": {"tokenizer_config.json": lambda n: {"bos_token": "<bos>", "extra_special_tokens": ["<tool>"],
                                                  "pad_token": {"__type": "AddedToken", **listed("<pad>", lstrip=True)}}},
    "own_names": {"tokenizer_config.json": lambda n: {"image_token": "<tool>", "audio_token": "<new>", "extra_special_tokens": ["<bos>"],
                                                      "pad_token": "<pad>", "clean_up_tokenization_spaces": True}},
    "older": {"tokenizer_config.json": lambda n: {"eos_token": "</s>"}, "added_tokens.json": lambda n: {"<new>": n, "还可以word": n + 1},
              "special_tokens_map.json": lambda n: {"pad_token": listed("<new>")}},
    "bos": {"tokenizer_config.json": lambda n: {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True, "add_eos_token": True}},
    "no_bos": {"tokenizer_config.json": lambda n: {"bos_token": "<s>", "add_bos_token": False}},
}


@pytest.mark.parametrize("case", FILES)
def test_files_beside_the_tokenizer_count_as_in_transformers(case, tmp_path):
    tokenizer = Tokenizer.from_str(saved("mistral"))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for name, make in FILES[case].items():
        write(tmp_path, name, make(tokenizer.get_vocab_size()))
    reference = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert ids_of(tmp_path, TEXTS) == [reference(text).input_ids for text in TEXTS]


# kind of tokenizer.json, model_type, tokenizer_config.json, what the log says
CLASSES = {
    "llama2": ("llama2", "llama", {"tokenizer_class": "LlamaTokenizer", "legacy": False}, "own normalizer, pre_tokenizer"),
    "llama2_legacy": ("llama2", "llama", {"tokenizer_class": "LlamaTokenizerFast", "legacy": True, "unk_token": None}, "own normal"),
    "no_prefix": ("mistral", "llama", {"tokenizer_class": "LlamaTokenizer", "add_prefix_space": False}, "own pre_tokenizer, decoder"),
    "as_the_file": ("mistral", "llama", {"tokenizer_class": "LlamaTokenizer"}, ""),
    "smollm": ("smollm", "llama", {"tokenizer_class": "GPT2Tokenizer"}, "own pre_tokenizer"),
    "listed_only": ("smollm", "llama", {"tokenizer_class": "GPT2Tokenizer", "added_tokens_decoder": {
        "0": {"content": "!", "special": True}, "630": {"content": "<new>", "rstrip": True}}}, "own pre_tokenizer"),
    "neox": ("smollm", "llama", {"tokenizer_class": "GPTNeoXTokenizer", "bos_token": "<s>"}, "pre_tokenizer, post_processor"),
    "gemma": ("llama2", "qwen3", {"tokenizer_class": "GemmaTokenizer"}, "own normalizer, pre_tokenizer, decoder"),
    "qwen2_by_model": ("smollm", "qwen2", {"tokenizer_class": "LlamaTokenizerFast"}, "own normalizer, pre_tokenizer"),
    "qwen3_without_class": ("smollm", "qwen3_moe", {"add_prefix_space": True}, "own normalizer, pre_tokenizer"),
    "qwen3_5": ("smollm", "qwen3", {"tokenizer_class": "Qwen3_5Tokenizer"}, "own normalizer, pre_tokenizer"),
    "plain": ("llama2", "mistral", {"tokenizer_class": "LlamaTokenizer"}, ""),
    "not_known": ("llama2", "llama", {"tokenizer_class": "BaichuanTokenizer"}, "BaichuanTokenizer is not known"),
}


@pytest.mark.parametrize("case", CLASSES)
def test_a_class_that_transformers_builds_in_code(case, tmp_path):
    kind, model, settings, said = CLASSES[case]
    tokenizer = Tokenizer.from_str(saved(kind))
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    write(tmp_path, "tokenizer_config.json", settings)
    write(tmp_path, "config.json", {"model_type": model, "made_of": float("inf")})
    reference = AutoTokenizer.from_pretrained(tmp_path)
    texts = strings_for(kind)[:300] + TEXTS
    status, lines, error = run(tmp_path, [json.dumps(text) for text in texts])
    assert status == 0 and (said in error if said else error == ""), error
    expected = [reference(text).input_ids for text in texts]
    for text, mine, theirs in zip(texts, lines, expected):
        assert json.loads(mine) == theirs, ascii(text)
    if "decoder" not in said:
        return
    _, lines, _ = run(tmp_path, [json.dumps(ids) for ids in expected], "--decode")
    assert [json.loads(line) for line in lines] == [reference.decode(ids) for ids in expected]


def test_a_class_of_characters_beside_a_vocabulary_of_bytes(tmp_path):
    tokenizer = Tokenizer.from_str(saved("deepseek"))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    write(tmp_path, "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizerFast"})
    _, lines, error = run(tmp_path, [json.dumps(text) for text in TEXTS])
    assert "tokenizer_class LlamaTokenizer is of characters, and tokenizer.json of bytes" in error
    assert [json.loads(line) for line in lines] == [tokenizer.encode(text).ids for text in TEXTS]


S = ("<s>", 1)
PROCESSORS = {
    "none": None,
    "template": processors.TemplateProcessing(single="<s> $A </s> <s>", pair="$A $B", special_tokens=[S, ("</s>", 2)]),
    "sequence": processors.Sequence([processors.ByteLevel(), processors.TemplateProcessing(
        single="<s> $A", pair="$A $B", special_tokens=[S])]),
    "roberta": processors.RobertaProcessing(("</s>", 2), S),
    "bert": processors.BertProcessing(("</s>", 2), S),
}


@pytest.mark.parametrize("case", PROCESSORS)
def test_what_the_post_processor_adds(case, tmp_path):
    tokenizer = Tokenizer.from_str(saved("llama2"))
    if PROCESSORS[case]:
        tokenizer.post_processor = PROCESSORS[case]
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert ids_of(tmp_path, TEXTS) == [tokenizer.encode(text).ids for text in TEXTS]


def test_special_tokens_are_left_out_on_request(tmp_path):
    tokenizer = Tokenizer.from_str(saved("llama2"))
    tokenizer.post_processor = PROCESSORS["template"]
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    texts = ["<s>这部电影<|end|> a", "还可以"]
    status, lines, error = run(tmp_path, [json.dumps(text) for text in texts], "--add_special_tokens", "off")
    assert (status, error) == (0, "")
    assert [json.loads(line) for line in lines] == [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    ids = [tokenizer.encode(text).ids for text in texts]
    for options, skip in [(["--skip_special_tokens"], True), ([], False)]:
        _, lines, _ = run(tmp_path, [json.dumps(one) for one in ids], "--decode", *options)
        assert [json.loads(line) for line in lines] == [tokenizer.decode(one, skip_special_tokens=skip) for one in ids]


def test_an_id_that_transformers_would_not_give_is_the_one_it_gives(tmp_path):
    tokenizer = Tokenizer.from_str(saved("mistral"))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    size = tokenizer.get_vocab_size()
    write(tmp_path, "tokenizer_config.json", {"added_tokens_decoder": {str(size + 5): listed("<new>")}})
    status, lines, error = run(tmp_path, ['"<new>"'])
    assert status == 0 and json.loads(lines[0])[-1] == size
    assert f"the id of added token '<new>' is {size}, not {size + 5}, as `tokenizers` numbers it" in error
