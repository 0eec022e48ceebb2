#!/usr/bin/env python3
"""Trains sample/tokenizer/ on the sample reviews with the `tokenizers` package: a byte-level BPE built like Qwen3's
(NFC, the same split pattern, ChatML control tokens as the last ids), only with 4,096 entries.

Usage: make_sample_tokenizer.py [--data FILE] [--out FOLDER]   (needs the package tokenizers)
"""
import argparse
import csv
import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

VOCABULARY = 4096
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
           r"|\s*[\r\n]+|\s+(?!\S)|\s+")
# Plain ChatML.
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}")
# What prompts say besides names, titles and reviews (src/data/prompt.cc).
PROMPT_TEXT = ["用户: ", "历史影评记录 (12条):", "  电影《》(4星): ", "模仿用户风格为电影《》写一条影评：", "system", "assistant",
               "【用户】", "【历史影评】", "【当前影片】", "时间: 2016-07-08"]


def texts(path):
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row["Comment"]
            yield f"  电影《{row['Movie_Name_CN']}》: {row['Comment']}"
            yield row["Username"]
            yield from PROMPT_TEXT


def train(path):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY - len(CONTROL), show_progress=False, max_token_length=21,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts(path), trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL])
    return tokenizer


def main():
    here = pathlib.Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=here / "sample" / "DMSC_sample.csv")
    parser.add_argument("--out", type=pathlib.Path, default=here / "sample" / "tokenizer")
    options = parser.parse_args()
    tokenizer = train(options.data)
    assert tokenizer.get_vocab_size() == VOCABULARY, tokenizer.get_vocab_size()
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(options.out / "tokenizer.json"), pretty=False)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": CHAT_TEMPLATE, "bos_token": None,
              "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None,
              "add_bos_token": False, "clean_up_tokenization_spaces": False, "model_max_length": 32768}
    text = json.dumps(config, ensure_ascii=False, indent=2)
    (options.out / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")
    print(f"{options.out}: {tokenizer.get_vocab_size()} entries")


if __name__ == "__main__":
    main()
