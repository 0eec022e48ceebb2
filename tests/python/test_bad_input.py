"""Bad input to `trireme train`: exit status 2, one last line that names file or flag, the value and a remedy, and
nothing written. Each row is what is wrong, and what the line must say."""
import fcntl
import gzip
import json
import os
import resource
import shutil
import signal
import subprocess
import time

import pytest
import reviews
import tiny_models
from bad_files import (add_tensor, change_config, change_tensor, claimed_header_length, header_entry, header_text,
                       remove_files, remove_tensor, shards, truncate, write_file)
from program import binary, run
from reviews import Review

USERS = {"影迷甲": [Review("盐湖快车", "画面美！", "2015-01-01", 4), Review("机械鲸", "还行", "2015-02-01", 3)],
         "路人": [Review("盐湖快车", "不好看。", "2015-01-01", 1), Review("机械鲸", "一般", "2015-03-01", 2)]}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder with a model and data that are in order."""
    folder = tmp_path_factory.mktemp("good")
    tiny_models.make_text_model(folder / "model")
    reviews.write_dmsc_csv(folder / "DMSC.csv", USERS)
    return folder


@pytest.fixture
def place(good, tmp_path):
    """A copy of it to spoil."""
    shutil.copytree(good, tmp_path / "place")
    return tmp_path / "place"


def everything_in(folder):
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def train(place, *options, expect=2, data="DMSC.csv", output="out", **run_options):
    """Runs in `place`, so that the names in messages are short."""
    return run("train", "--model", "model", "--data_file", data, "--output_dir", output, "--max_steps", 1, *options,
               cwd=place, expect=expect, **run_options)


def assert_refused(place, *options, says, **names):
    before = everything_in(place)
    done = train(place, *options, **names)
    lines = done.stderr.splitlines()
    assert lines[-1].startswith("trireme: "), done.stderr
    assert sum(line.startswith("trireme: ") for line in lines) == 1
    assert "internal error" not in lines[-1] and len(lines[-1]) < 700
    for part in says:
        assert part in lines[-1], lines[-1]
    assert done.stdout == ""
    assert everything_in(place) == before


def test_the_good_folder_is_good(place):
    train(place, expect=0)
    assert (place / "out" / "model.safetensors").exists()


# The model folder.

NORM, EMBED, DOWN = "model.norm.weight", "model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight"
SHARD = "model-00002-of-00003.safetensors"
INDEX = "model.safetensors.index.json"


def only_pytorch_weights(model):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def renamed(old, new):
    return lambda model: tiny_models.edit_weights(model, lambda tensors: [
        tensors.update({name.replace(old, new, 1): tensors.pop(name)}) for name in list(tensors) if old in name])


def index_of_another_model(model):
    """Four files, of which the folder has none."""
    def change(index):
        index["weight_map"] = {name: shard.replace("of-00003", "of-00004") for name, shard in index["weight_map"].items()}
    tiny_models.edit_json(model / INDEX, change)


def only_an_adapter(model):
    remove_files("config.json", "model.safetensors")(model)
    write_file("adapter_config.json", "{}")(model)


def index_without(name):
    return shards(lambda model: tiny_models.edit_json(model / INDEX, lambda index: index["weight_map"].pop(name)))


def index_with(name, shard):
    return shards(lambda model: tiny_models.edit_json(
        model / INDEX, lambda index: index["weight_map"].update({name: shard})))


@pytest.mark.parametrize("damage, says", [
    pytest.param(*row, id=row[1][-1].replace(" ", "_")[:40]) for row in [
        (shutil.rmtree, ["model: no such folder", "Hugging Face"]),
        (remove_files("config.json"), ["model: no config.json"]),
        (remove_files("model.safetensors"), ["model: no weights", "model.safetensors.index.json"]),
        (only_pytorch_weights, ["pytorch_model.bin", "convert the model to safetensors"]),
        (remove_files("tokenizer.json"), ["model/tokenizer.json", "no such file"]),
        (shards(remove_files(SHARD)), [f"model: shard {SHARD} is missing", "download"]),
        (shards(remove_files(SHARD, "model-00003-of-00003.safetensors")),
         [f"shards {SHARD}, model-00003-of-00003.safetensors are missing", "names 3 files with 24 tensors, of which 16 are missing"]),
        (shards(index_of_another_model), ["shards model-00001-of-00004.safetensors, model-00002", "of which 24 are missing",
                                          "does not name model-00001-of-00003.safetensors", "of another model"]),
        (only_an_adapter, ["model: no config.json: an adapter", "--adapter"]),
        (shards(truncate(SHARD, 0.7)), [SHARD, "truncated", "bytes of data expected"]),
        (shards(remove_files(INDEX)), ["model-00001-of-00003", f"nor {INDEX}", "download the missing file"]),
        (truncate("model.safetensors", 0.7), ["model/model.safetensors", "the file is truncated"]),
        (truncate("model.safetensors", 100), ["model/model.safetensors", "truncated: a header of"]),
        (truncate("model.safetensors", 5), ["model/model.safetensors: 5 bytes are too few"]),
        (write_file("model.safetensors", ""), ["model/model.safetensors: 0 bytes are too few"]),
        (write_file("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n"),
         ["git lfs pull"]),
        (index_with(NORM, "../../etc/x.safetensors"), [INDEX, NORM, "../../etc/x.safetensors is not a plain name"]),
        (index_with("model.more.weight", SHARD), ["model.more.weight is not in shard"]),
        (index_without(NORM), [f"tensor {NORM} is not in {INDEX}"]),
        (remove_tensor(NORM), [f"tensor {NORM} [60] is missing"]),
        (change_config(tie_word_embeddings=False), ["tensor lm_head.weight [4096, 60] is missing", "random numbers"]),
        (remove_tensor(DOWN), [f"tensor {DOWN} [60, 164] is missing"]),
        (renamed("model.layers.1", "model.blocks.1"), ["is missing, and 10 others of 24"]),
        (renamed("", "transformer."), ["its tensors are named as transformer.model.layers.0.", "_orig_mod."]),
        (renamed("model.layers", "transformer.h"), ["missing, and 21 others of 24"]),
        (renamed("model.", "transformer.h."), ["its tensors are named as transformer.h.layers.0."]),
        (renamed("layernorm", "ln"), ["input_layernorm", "is missing, and 3 others of 24"]),
        (renamed("q_proj.", "q_proj.base_layer."), ["q_proj.base_layer.weight is of a PEFT model", "merge_and_unload"]),
        (renamed("q_proj.weight", "q_proj.qweight"), ["q_proj.qweight is of quantised weights", "made from"]),
        (add_tensor("model.layers.2.input_layernorm.weight", NORM), ["layers.2.input_layernorm.weight is not one"]),
        (add_tensor("model.norm.bias", NORM), ["tensor model.norm.bias is not one of a qwen3 model"]),
        (change_tensor(DOWN, lambda t: t[:, 1:]), [DOWN, "[60, 163], config.json asks for [60, 164]"]),
        (change_tensor(EMBED, lambda t: t.T), [EMBED, "[60, 4096], config.json asks for [4096, 60]"]),
        (change_tensor(NORM, lambda t: t.int()), [NORM, "dtype I32 is not one of F32, BF16, F16"]),
        (change_tensor(NORM, lambda t: t.double()), [NORM, "dtype F64 is not one of F32, BF16, F16"]),
    ]])
def test_model_folder(place, damage, says):
    damage(place / "model")
    assert_refused(place, says=says)


# Headers of safetensors files that lie.

def offsets(first, last):
    return lambda entry: entry["data_offsets"].__setitem__(slice(None), [entry["data_offsets"][0] + first,
                                                                          entry["data_offsets"][1] + last])


def shape(*sizes):
    return lambda entry: entry["shape"].__setitem__(slice(None), sizes)


@pytest.mark.parametrize("damage, says", [
    pytest.param(*row, id=row[1][-1].replace(" ", "_")[:40]) for row in [
        (header_entry(NORM, offsets(-240, -240)), [NORM, "overlap at byte"]),
        (header_entry("model.layers.0.self_attn.q_norm.weight", lambda e: e.update(shape=[0], data_offsets=[0, 0])),
         ["belong to no tensor"]),
        (header_text(lambda text: text.replace("}}", '},"extra":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}')),
         ["extra", "overlap at byte"]),
        (header_entry(NORM, shape(61)), [NORM, "need 244 bytes, data_offsets give 240"]),
        (header_entry(NORM, offsets(8, -300)), [NORM, "end before they begin"]),
        (header_entry(NORM, shape(2**62, 2**62)), [NORM, "more elements than 64 bits can count"]),
        (header_entry(NORM, shape(2**63, 2)), [NORM, "9223372036854775808", "from 0 to 2^63-1 in shape"]),
        (header_entry(NORM, shape(-60)), [NORM, "-60", "a size from 0"]),
        (header_entry(NORM, lambda entry: entry.update(dtype="F99")), [NORM, "dtype F99 is unknown"]),
        (header_entry(NORM, lambda entry: entry.pop("shape")), [NORM, "shape is missing"]),
        (header_text(lambda text: "{" + f'"{NORM}":{{"dtype":"F32","shape":[60],"data_offsets":[0,240]}},' + text[1:]),
         [f"the header has {NORM} twice"]),
        (header_text(lambda text: text[:-40]), ["the header is not valid JSON at its byte"]),
        (header_text(lambda text: "[" + text), ["does not start with '{'"]),
        (claimed_header_length(2**63), [f"a header of {2**63} bytes"]),
        (claimed_header_length(100_000_001), ["a header of 100000001 bytes (at most 100000000 are allowed)"]),
        (claimed_header_length(90_000_000), ["truncated: a header of 90000000 bytes expected"]),
    ]])
def test_headers_that_lie(place, damage, says):
    damage(place / "model")
    assert_refused(place, says=["model/model.safetensors", *says])


# config.json and the tokenizer.

def larger_tokenizer(model):
    tiny_models.edit_weights(model, lambda tensors: tensors.update({EMBED: tensors[EMBED][:4000].clone()}))
    change_config(vocab_size=4000, pad_token_id=None)(model)


def change_chat_template(text):
    return lambda model: tiny_models.edit_json(model / "tokenizer_config.json", lambda config: config.update(chat_template=text))


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512, "rope_theta": 10000.0}


@pytest.mark.parametrize("damage, says", [
    pytest.param(*row, id=row[1][-1].replace(" ", "_")[:40]) for row in [
        (change_config(architectures=["MistralForCausalLM"]), ["model/config.json", "architecture MistralForCausalLM",
                                                              "Qwen3ForCausalLM"]),
        (change_config(architectures=None, model_type="gemma3"), ["model_type gemma3 is not supported"]),
        (change_config(architectures=None, model_type=None), ["neither architectures nor model_type"]),
        (change_config(rope_parameters={**YARN, "rope_type": "su"}), ["rope_parameters.rope_type su is not supported"]),
        (change_config(rope_parameters=None, rope_scaling={"type": "linear"}), ["the key rope_scaling.factor is missing"]),
        (change_config(rope_parameters={**YARN, "mrope_section": [1, 2]}), ["rope_parameters.mrope_section is [1,2]"]),
        (change_config(attention_dropout=0.1), ["attention_dropout is 0.1", "set it to 0"]),
        (change_config(embedding_multiplier=12), ["embedding_multiplier is 12", "not known", "remove it"]),
        (change_config(rms_norm_eps=float("inf")), ["rms_norm_eps is", "Infinity", "a number above 0"]),
        (change_config(hidden_size=60.0), ["hidden_size is 60.0", "a whole number"]),
        (change_config(use_sliding_window=True, sliding_window=128, max_window_layers=1, layer_types=None),
         ["use_sliding_window is true", "window of 128", "full attention only"]),
        (change_config(layer_types=["full_attention", "sliding_attention"]), ['layer_types has "sliding_attention"']),
        (change_config(quantization_config={"quant_method": "gptq", "bits": 4}), ["quantization_config", "gptq"]),
        (change_config(hidden_act="gelu"), ["hidden_act gelu"]),
        (change_config(hidden_size=64), ["config.json asks for [4096, 64]"]),
        (change_config(hidden_size="60"), ['hidden_size is "60"', "a whole number"]),
        (change_config(num_hidden_layers=3, layer_types=None), ["model.layers.2.", "is missing"]),
        (change_config(num_key_value_heads=3), ["num_attention_heads 4", "num_key_value_heads 3"]),
        (change_config(vocab_size=2**40), ["vocab_size is 1099511627776"]),
        (change_config(pad_token_id=4096), ["model/config.json: pad_token_id 4096 is no row", "set it to null"]),
        (write_file("config.json", '{\n  "hidden_size": 60,\n}'), ["model/config.json:3:1", "remove the comma"]),
        (larger_tokenizer, ["model/tokenizer.json has ids up to 4095", "vocab_size 4000"]),
        (change_chat_template("{% include 'x' %}"), ["model/tokenizer_config.json:1:4", "the tag 'include' is not supported"]),
        (change_chat_template("{{ raise_exception('only\nusers') }}"),
         ["model/tokenizer_config.json", "the chat template refuses the messages: only\\x0ausers"]),
        (change_chat_template(None), ["model/tokenizer_config.json: no chat_template", "--chat_template chatml", "none"]),
        (write_file("tokenizer.json", '{"model": {"type": "WordPiece"}}'), ["model/tokenizer.json", "WordPiece"]),
        (write_file("tokenizer.json", '{"model": '), ["model/tokenizer.json:1:11", "expected a value, found the end of the file"]),
    ]])
def test_model_config_and_tokenizer(place, damage, says):
    damage(place / "model")
    assert_refused(place, says=says)


# The run config.

@pytest.mark.parametrize("text, says", [
    pytest.param(*row, id=row[1][-1].replace(" ", "_")[:40]) for row in [
        ('{\n  "training": {\n    "max_length": 512,\n  }\n}', ["c.json:4:3", "remove the comma before it"]),
        ("# ours\ntraining:\n  max_length: 512\n", ["c.json: YAML, where JSON is expected", "yaml.safe_load"]),
        ('{"training": {"max_length": 512', ["c.json:1:32", "expected ',' or '}'", "the end of the file"]),
        ('{"model": {"name": "my "best" model"}}', ["c.json:1:25", 'a quote inside a string is written \\"']),
        ("{'training': {}}", ["c.json:1:2", "strings are written in double quotes"]),
        ("// only a comment\n", ["c.json"]),
        ("", ["c.json: empty"]),
        ("[]", ["c.json: array where an object is expected"]),
        ('{"training": {\n"max_lenght": 512}}', ["c.json:2:1: training.max_lenght", "mean 'training.max_length'?"]),
        ('{"trainig": {}}', ["c.json:1:2: trainig", "did you mean 'training'?"]),
        ('{"max_length": 5}', ["c.json:1:2: max_length", "move the key into 'training'"]),
        ('{"training": {"max_length": "512"}}', ["training.max_length", 'a number is expected, found "512"']),
        ('{"training": {"max_length": 0}}', ["training.max_length: 0 tokens", "1 to 1073741824"]),
        ('{"training": {"max_length": 1.5}}', ["1.5 is not a whole number"]),
        ('{"training": {"val_ratio": 1.5}}', ["training.val_ratio: 1.5 is out of range: 0 to 0.99"]),
        ('{"training": {"packing": 1}}', ["training.packing: true or false is expected, found 1"]),
        ('{"training": {"seed": 1,\n "seed": 2}}', ["c.json:2:2", "'seed' is given twice"]),
        ('{"model": {"use_lora": 1}}', ["c.json:1:12: model.use_lora: true or false is expected, found 1"]),
        ('{"model": {"use_lora": true,\n "lora_config": {"r": 0}}}', ["c.json:2:18: model.lora_config.r: 0 is out of"]),
        ('{"model": {"use_lora": true, "lora_config": {"target_modules": ["q_prj"]}}}',
         ["target_modules: 'q_prj' is no linear of this qwen3 model (did you mean 'q_proj'?)"]),
        ('{"ablation_configs": {"mine": {"use_profile": true}}}', ["ablation_configs.mine: use_history is missing"]),
        ('{"training": {"max_length": 1e999}}', ["c.json:1:29", "too large"]),
    ]])
def test_run_config(place, text, says):
    (place / "c.json").write_text(text)
    assert_refused(place, "--config", "c.json", says=says)


# The command line.

@pytest.mark.parametrize("options, says", [
    pytest.param(row[0].split(), row[1], id=row[0][:40] or "nothing") for row in [
        ("--max_lenght 512", ["--max_lenght: unknown option", "did you mean '--max_length'?"]),
        ("--learning-rat 1", ["--learning-rat", "did you mean '--learning_rate'?"]),
        ("--top_k 5", ["--top_k: not an option of trireme train"]),
        ("512", ["'512': an option is expected"]),
        ("--max_length", ["--max_length: a value is missing"]),
        ("--max_length many", ["--max_length: 'many' is not a number"]),
        ("--max_length 2k", ["--max_length: '2k' is not a number"]),
        ("--max_length -5", ["--max_length: -5 tokens is out of range: 1 to"]),
        ("--learning_rate nan", ["--learning_rate: 'nan' is not a number"]),
        ("--learning_rate 2", ["--learning_rate: 2 is out of range: 0 to 1"]),
        ("--prompt_style fancy", ["--prompt_style: 'fancy'", "simple or detailed"]),
        ("--packing maybe", ["--packing: 'maybe'", "true, false, on, off"]),
        ("--ablation_config profile_and_histroy", ["profile_and_histroy", "did you mean 'profile_and_history'?"]),
        ("--config nowhere.json", ["nowhere.json", "No such file"]),
        ("--config model", ["model: a folder: a file is expected"]),
        ("--deepspeed nowhere.json", ["nowhere.json", "No such file"]),
        ("--tokenizer nowhere", ["nowhere/tokenizer.json", "no such file"]),
        ("--device cuda --max_length 64", ["--device cuda"]),
        ("--dtype bfloat16 --device cpu", ["--dtype bfloat16", "use --dtype float32"]),
        ("--rope_scaling yarn", ["--rope_scaling:1:1: expected a value, found 'yarn'"]),
        ('--rope_scaling {"type":"yarn"}', ["--rope_scaling: the key factor is missing"]),
    ]])
def test_command_line(place, options, says):
    if "cuda" in options and os.path.exists("/dev/nvidiactl"):
        pytest.skip("there is a GPU")
    assert_refused(place, *options, says=says)


@pytest.mark.parametrize("given, missing", [
    (("--data_file", "DMSC.csv", "--output_dir", "out"), "--model is missing"),
    (("--model", "model", "--output_dir", "out"), "--data_file is missing"),
    (("--model", "model", "--data_file", "DMSC.csv"), "--output_dir is missing"), ((), "--model is missing")])
def test_what_train_cannot_do_without(place, given, missing):
    done = run("train", *given, cwd=place, expect=2)
    assert done.stderr.startswith(f"trireme: {missing}") and done.stderr.count("\n") == 1


def test_unknown_verb(place):
    done = run("trian", cwd=place, expect=2)
    assert done.stderr.startswith("trireme: unknown verb 'trian' (did you mean 'train'?)")
    assert done.stderr.count("\n") == 1


# Reviews.

HEADER = ",".join(reviews.DMSC_HEADER) + "\n"
ROW = "1,E,盐湖快车,2017-08-01,1,甲,2015-01-01,5,好看,3\n"


@pytest.mark.parametrize("content, says", [
    pytest.param(*row, id=row[1][-1].replace(" ", "_")[:40]) for row in [
        ("", ["d.csv:1:1", "empty"]),
        (" \n\n", ["d.csv:1:1: the file is empty"]),
        (HEADER, ["d.csv:2:1: no rows after the header"]),
        (ROW, ["d.csv:1:1: bad header '1'", "Username"]),
        (HEADER.replace("Username", "User_Name") + ROW, ["d.csv:1:1: bad header: no column Username",
                                                        "did you mean 'User_Name'?"]),
        (HEADER.replace("Like", "Date") + ROW, ["d.csv:1:", "bad header", "two columns Date"]),
        (HEADER + ROW + "2,E,盐湖快车,2017\n" + ROW, ["d.csv:3:1: short row: 4 fields, the header has 10"]),
        (HEADER + ROW.replace("好看", "好,看"), ["d.csv:2:1: long row: 11 fields", "a comma or a quote"]),
        (HEADER + ROW + ROW[:-12], ["d.csv:3:1", "truncated?"]),
        (HEADER + ROW.replace("好看", '"好看'), ["d.csv:2:38: broken quote", "never closed"]),
        (HEADER + ROW.replace("好看", '"好"看"'), ["d.csv:2:41: broken quote", "double the quotes"]),
        (HEADER + ROW.replace("好看", '好"看'), ["d.csv:2:39: broken quote", "inside a field without quotes"]),
        ((HEADER + ROW).encode("gbk"), ["d.csv:2:5: byte 0xD1 is not UTF-8 (GBK?)", "iconv -f GBK -t UTF-8"]),
        ((HEADER + ROW).encode("utf-16"), ["d.csv:1:1: the file is UTF-16", "iconv"]),
        ((HEADER + ROW).replace("好", "好\0"), ["d.csv:2:39: NUL byte"]),
        (gzip.compress(HEADER.encode()), ["d.csv: a gzip file", "gunzip"]),
        (b"PK\3\4" + bytes(40), ["d.csv: a zip archive or an Excel file", "as CSV"]),
        (b"PAR1" + bytes(40) + b"PAR1", ["d.csv: a Parquet file", "to_csv"]),
        ((HEADER + ROW).encode()[:-8], ["d.csv:2:38", "ends inside a character"]),
        (HEADER + ROW.replace(",5,", ",6,"), ["d.csv:2:36: Star is '6': 1, 2, 3, 4, 5"]),
        (HEADER + ROW.replace(",5,", ",0,"), ["d.csv:2:36: Star is '0'"]),
        (HEADER + ROW.replace(",5,", ",4.5,"), ["d.csv:2:36: Star is '4.5'"]),
        (HEADER + ROW.replace(",5,", ",five,"), ["d.csv:2:36: Star is 'five'"]),
        (HEADER + ROW.replace("2015-01-01", "2015-02-30"), ["d.csv:2:25: Date is '2015-02-30'", "YYYY-MM-DD"]),
        (HEADER + ROW.replace("1,E", "x,E"), ["d.csv:2:1: ID is 'x', a whole number is expected"]),
        (HEADER + ROW.replace("好看", ""), ["d.csv: no reviews in this file, 1 dropped: empty comment"]),
        ("movieId,title,title_cn\n1,E,盐\n", ["d.csv:1:1: this is the list of films"]),
        ("userId,movieId,rating,timestamp,comment,like\n1,1,5,1,好,1\n", ["movies.csv: no such file"]),
    ]])
def test_csv(place, content, says):
    write_file("d.csv", content)(place)
    assert_refused(place, data="d.csv", says=says)


MOVIES = "movieId,title,title_cn\n1,E,盐湖快车\n"
RATINGS = "userId,movieId,rating,timestamp,comment,like\n"


@pytest.mark.parametrize("movies, ratings, says", [
    (MOVIES, RATINGS, ["ratings.csv:2:1: no rows"]),
    (MOVIES, RATINGS + "7,2,5,1400000000,好,1\n", ["ratings.csv:2:3: movieId is '2'", "movies.csv"]),
    (MOVIES, RATINGS + "7,1,9,1400000000,好,1\n", ["ratings.csv:2:5: rating is '9'"]),
    (MOVIES, RATINGS + "7,1,5,2014-05-13,好,1\n", ["ratings.csv:2:7: timestamp is '2014-05-13'"]),
    (MOVIES, RATINGS + "7,1,5,14000000000,好,1\n", ["ratings.csv:2:7: timestamp is 14000000000"]),
    (MOVIES + "1,F,x\n", RATINGS + "7,1,5,1,好,1\n", ["movies.csv:3:1: movieId '1' stands twice"])])
def test_dmsc_v2(place, movies, ratings, says):
    (place / "v2").mkdir()
    (place / "v2" / "movies.csv").write_text(movies)
    (place / "v2" / "ratings.csv").write_text(ratings)
    assert_refused(place, data="v2", says=says)


def pipeline_json(**changes):
    item = {"context": [], "continuation": "好", "continuation_prefix": "片: ", "timestamp": "2015-01-01", **changes}
    return ('[{"user": {"profile": {"name": "甲"}}, "task": {"task_behavior_collections": [\n'
            f'{{"type": "movie_review", "data": [\n{json.dumps(item, ensure_ascii=False)}]}}]}}}}]')


@pytest.mark.parametrize("content, says", [
    pytest.param(*row, id=row[1][-1].replace(" ", "_")[:40]) for row in [
        (pipeline_json().replace('"好"', '"他说"好"。"'), ["d.json:3:37", 'a quote inside a string is written \\"']),
        (pipeline_json()[:-4], ["d.json:3:", "the end of the file"]),
        (pipeline_json(timestamp="yesterday"), ["[0].task.task_behavior_collections[0].data[0].timestamp: 'yest"]),
        (pipeline_json(continuation=None), ["data[0].continuation: a string is expected, not null"]),
        (pipeline_json(continuation_prefix=": "), ["continuation_prefix: no film"]),
        (pipeline_json(context=[5]), ["data[0].context[0]: a string or an object is expected"]),
        ('[{"user": {"profile": {}}}]', ["[0].user.profile.name: missing"]),
        ("[]", ["d.json: no reviews in this file"]),
        ("5", ["d.json: the file is number: a list of users"]),
    ]])
def test_pipeline_json(place, content, says):
    write_file("d.json", content)(place)
    assert_refused(place, data="d.json", says=says)


@pytest.mark.parametrize("data, says", [("nowhere.csv", "nowhere.csv"), ("empty", "no ratings.csv")])
def test_data_that_is_not_there(place, data, says):
    (place / "empty").mkdir()
    assert_refused(place, data=data, says=[says])


def test_max_length_too_small_for_any_sample(place):
    assert_refused(place, "--max_length", 12, says=["max_length 12: none of", "samples fits", "use --max_length"])


# The output folder.

@pytest.mark.parametrize("output, says", [
    ("model/config.json", ["--output_dir model/config.json", "lies in what is read"]), ("file", ["file", "not a folder"]),
    ("file/out", ["file", "cannot create the folder"]),
    ("/proc/nowhere/out", ["/proc/nowhere", "cannot create"]), ("/proc/self/out", ["/proc/self/out", "cannot create"])])
def test_output_that_cannot_be_written(place, output, says):
    (place / "file").write_text("")
    assert_refused(place, output=output, says=says)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_output_in_a_folder_that_may_not_be_written(place):
    (place / "locked").mkdir(mode=0o555)
    assert_refused(place, output="locked/out", says=["locked/out", "cannot create", "check the owner and the mode"])


def test_output_that_is_not_empty(place):
    (place / "out").mkdir()
    (place / "out" / "thesis.txt").write_text("the only copy")
    assert_refused(place, says=["--output_dir out: not empty", "--overwrite"])


@pytest.mark.parametrize("output", ["model", "model/", "./model", "model/../model", "link"])
@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_output_that_is_the_model_itself(place, output, overwrite):
    (place / "link").symlink_to("model")
    assert_refused(place, *overwrite, output=output, says=[f"--output_dir {output}: is or holds what is read, --model"])


def test_overwriting_a_run_from_its_own_checkpoint(place):
    """The earlier run's files are removed at the start: the model that is read must not be among them."""
    train(place, "--max_steps", 2, "--save_steps", 1, expect=0)
    assert_refused(place, "--overwrite", "--model", "out/checkpoint-1", says=["--output_dir out", "out/checkpoint-1"])


def test_overwriting_the_tokenizer_that_is_read(place):
    train(place, expect=0)
    assert_refused(place, "--overwrite", "--tokenizer", "out", says=["--output_dir out: is or holds what is read, --tokenizer out"])


@pytest.mark.parametrize("output, says", [
    ("/", "holds"), ("..", "holds"), ("model/out", "lies in what is read, --model model"), ("link/out", "--model model"),
    ("home", "is or holds the home folder")])
def test_outputs_over_what_is_not_theirs(place, output, says):
    (place / "link").symlink_to("model")
    (place / "home").mkdir()
    assert_refused(place, "--overwrite", output=output, says=[f"--output_dir {output}", says],
                   env=os.environ | {"HOME": str(place / "home")})


def test_data_in_the_output_folder(place):
    (place / "out" / "checkpoint-9").mkdir(parents=True)
    shutil.copy(place / "DMSC.csv", place / "out" / "checkpoint-9" / "d.csv")
    assert_refused(place, "--overwrite", data="out/checkpoint-9/d.csv", says=["is or holds what is read, --data_file"])


def test_a_result_by_another_program(place):
    """Known by name alone, as run.json, it would be replaced."""
    (place / "out" / "checkpoint-500").mkdir(parents=True)
    for name in ("run.json", "config.json", "checkpoint-500/w.bin", "model-best.safetensors"):
        (place / "out" / name).write_text("{}")
    assert_refused(place, "--overwrite", says=["--output_dir out: holds run.json", "no run of trireme wrote it"])


def test_dump_replaces_only_dumps(place):
    (place / "b.json").write_text('{"documents": [[1, 2, 3]]}')
    (place / "mine").write_text("the only copy")
    (place / "o.tmp").write_text("the only copy")

    def dump(out, expect=2):
        return run("dump", "--model", "model", "--batch", "b.json", "--out", out, "--threads", 1, cwd=place,
                   expect=expect).stderr
    assert "lies in what is read, --model model" in dump("model/model.safetensors")
    assert "is or holds what is read, --batch b.json" in dump("b.json")
    assert "--out mine: exists, and no dump wrote it" in dump("mine")
    dump("o", expect=0)
    before = set(place.iterdir())
    dump("o", expect=0)
    assert set(place.iterdir()) == before and (place / "o.tmp").read_text() == "the only copy"
    full = run("dump", "--model", "model", "--batch", "b.json", "--out", "new", "--logits", "--threads", 1, cwd=place,
               expect=2, restore_signals=False, preexec_fn=small_files)
    assert "File too large" in full.stderr.splitlines()[-1]
    assert set(place.iterdir()) == before


def small_files():
    """Writing fails as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


def test_an_output_folder_in_use(place):
    (place / "out").mkdir()
    with open(place / "out" / ".trireme.lock", "w", encoding="utf-8") as lock:
        lock.write("trireme: process 1 on a host")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert_refused(place, says=["out: in use by another run, process 1 on a host"])
    train(place, expect=0)  # the lock went with its process


@pytest.mark.parametrize("options", [(), ("--overwrite",)])
def test_two_runs_in_one_folder(place, options):
    """The second is refused, and the first does not notice."""
    first = subprocess.Popen([binary(), "train", "--model", "model", "--data_file", "DMSC.csv", "--output_dir", "out",
                              "--max_steps", "10000000", "--threads", "1"], cwd=place, stderr=subprocess.PIPE, text=True)
    while not (place / "out" / "run.json").exists():
        assert first.poll() is None
        time.sleep(0.01)
    says = train(place, *options).stderr.splitlines()[-1]
    assert ("in use by another run, process " if options else "--output_dir out: not empty") in says
    first.terminate()
    first.communicate(timeout=60)
    assert first.returncode == 128 + signal.SIGTERM and len(list((place / "out").glob("checkpoint-*"))) == 1


def test_bench_replaces_only_timelines(place):
    (place / "mine").write_text("the only copy")
    done = run("bench", "--model", "model", "--length", 8, "--timeline", "mine", cwd=place, expect=2)
    assert "--timeline mine: exists, and no bench wrote it" in done.stderr
    for _ in range(2):
        run("bench", "--model", "model", "--length", 8, "--steps", 1, "--timeline", "trace.json", cwd=place)


# Memory.

def test_a_run_that_cannot_fit_is_refused_with_the_sum(place):
    assert_refused(place, "--device_memory", "1MiB", says=["not enough memory", "this run holds"])


def test_a_model_that_no_machine_holds(place):
    """Refused from config.json alone: its weights do not even exist."""
    change_config(hidden_size=2**30)(place / "model")
    assert_refused(place, says=["model"])
