"""`trireme generate` against transformers: greedy decoding token for token, on tiny random models whose logits lie far
enough apart that fp32 rounding does not change the choice."""
import functools
import json
import pathlib
import re

import pytest
import reference
import reviews
import tiny_models
from program import run
from reviews import Review
from transformers import AutoTokenizer, GenerationConfig

torch = reference.torch
USERS = {
    "影迷甲": [Review("盐湖快车", "画面美，音乐也好！", "2015-01-01"), Review("机械鲸", "还行\n吧", "2015-02-01"),
            Review("雾港疑云", "看了三遍。", "2015-03-01")],
    "路人": [Review("南方来信", "不好看。", "2015-01-01")],
}
PROMPTS = ["这部电影", "Once upon a time", "<|im_start|>system\n好😀<|im_end|>\n"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("generate")


@pytest.fixture(scope="module")
def data(folder):
    return reviews.write_pipeline_json(folder / "train.json", USERS)


@pytest.fixture(scope="module")
def model(folder):
    return make_model(folder / "model")


def make_model(path, kind="qwen3"):
    """With a head of its own: a random tied one mostly repeats the token it was given."""
    return tiny_models.make_text_model(path, kind, tie_word_embeddings=False)


def generate(model, *options, **run_options):
    return run("generate", "--model", model, "--threads", 1, *options, **run_options)


loaded_model = functools.cache(reference.load)


def continuation(model, ids, count, **options):
    """New ids that transformers writes greedily; the stop token is left out."""
    loaded = loaded_model(model)
    loaded.generation_config.eos_token_id = loaded.config.eos_token_id
    out = loaded.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                          do_sample=False, max_new_tokens=count, pad_token_id=tiny_models.END_OF_TEXT, **options)
    new = out[0, len(ids):].tolist()
    return new[:-1] if new[-1] == loaded.config.eos_token_id else new


def text_of(model, ids):
    """As a pipe read in text mode shows it."""
    text = AutoTokenizer.from_pretrained(model).decode(ids, skip_special_tokens=True) + "\n"
    return text.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize("kind", ["qwen3", "qwen2", "qwen3_moe"])
def test_greedy_text_equals_transformers(tmp_path, kind):
    model = make_model(tmp_path / "model", kind)
    tokenizer = AutoTokenizer.from_pretrained(model)
    written = set()
    for prompt in PROMPTS:
        theirs = continuation(model, tokenizer(prompt).input_ids, 48)
        ours = generate(model, "--prompt", prompt, "--temperature", 0, "--max_new_tokens", 48)
        assert ours.stdout == text_of(model, theirs), prompt
        written.update(theirs)
    assert len(written) > 12  # not one token over and over


@pytest.fixture(scope="module")
def repeating_prompt(model):
    """A prompt that the model continues with a token of the prompt: some of its own text, written on."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    for start in range(100):
        prompt = f"{start}" + tokenizer.decode(continuation(model, tokenizer(f"{start}").input_ids, 24))
        ids = tokenizer(prompt).input_ids
        if "\ufffd" not in prompt and continuation(model, ids, 1)[:1] and continuation(model, ids, 1)[0] in ids:
            return prompt
    raise AssertionError("no such prompt")


@pytest.mark.parametrize("penalty", [1.3, 5.0, 0.7])
def test_repetition_penalty_equals_transformers(model, repeating_prompt, penalty):
    """Of prompt and answer alike; below 1 it rewards repetition."""
    ids = AutoTokenizer.from_pretrained(model)(repeating_prompt).input_ids
    plain, penalised = (continuation(model, ids, 48, repetition_penalty=value) for value in (1.0, penalty))
    assert penalised != plain
    ours = generate(model, "--prompt", repeating_prompt, "--temperature", 0, "--max_new_tokens", 48,
                    "--repetition_penalty", penalty)
    assert ours.stdout == text_of(model, penalised)


def without(path, *names):
    for name in names:
        (path / name).unlink()


@pytest.mark.parametrize("place, eos", [("generation_config.json", "number"), ("generation_config.json", "list"),
                                        ("config.json", "list"), ("generation_config.json", None)])
def test_generation_ends_where_transformers_does(tmp_path, model, place, eos):
    """A token that greedy decoding comes to is made the end token, which is an ordinary one and stays in the text.
    config.json counts where there is no generation_config.json; one without the key lets nothing stop."""
    ids = AutoTokenizer.from_pretrained(model)(PROMPTS[1]).input_ids
    free = continuation(model, ids, 48)
    end = next(token for i, token in enumerate(free) if i >= 6 and token not in free[:i])
    stopping = tiny_models.copy_of(model, tmp_path / "stopping")
    (stopping / "generation_config.json").write_text("{}")
    value = {"number": end, "list": [7, end], None: None}[eos]
    tiny_models.edit_json(stopping / place, lambda config: config.update(eos_token_id=value))
    if place == "config.json":
        without(stopping, "generation_config.json")
    else:
        tiny_models.edit_json(stopping / "config.json", lambda config: config.update(eos_token_id=free[3]))
    out = reference.load(stopping).generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                                            do_sample=False, max_new_tokens=48, pad_token_id=0)
    ours = generate(stopping, "--prompt", PROMPTS[1], "--temperature", 0, "--max_new_tokens", 48)
    assert ours.stdout == text_of(model, out[0, len(ids):].tolist())
    assert (out.shape[1] - len(ids) == 48) == (eos is None)


def test_options_of_generation_config_count_under_the_command_lines(tmp_path, model):
    """do_sample false is greedy; what generate has no option for is named."""
    folder = tiny_models.copy_of(model, tmp_path / "model")
    values = {"do_sample": False, "max_new_tokens": 12, "repetition_penalty": 1.3, "num_beams": 4, "typical_p": 1.0,
              "made_by": "hand", "use_cache": True}
    (folder / "generation_config.json").write_text(json.dumps(values))
    ours = generate(folder, "--prompt", PROMPTS[0])
    assert ours.stdout == generate(model, "--prompt", PROMPTS[0], "--temperature", 0, "--max_new_tokens", 12,
                                   "--repetition_penalty", 1.3).stdout
    assert "max_new_tokens 12, repetition_penalty 1.3, do_sample false (options of the command line win)" in ours.stderr
    assert "generation_config.json: num_beams 4 not used" in ours.stderr and "typical_p" not in ours.stderr
    assert 'made_by "hand" without effect' in ours.stderr and "use_cache" not in ours.stderr
    assert len(generate(folder, "--prompt", PROMPTS[0], "--max_new_tokens", 1).stdout) < len(ours.stdout)


def test_the_table_has_the_keys_of_transformers():
    page = pathlib.Path(__file__).parents[2].joinpath("docs", "models.md").read_text().split("## Keys of generation_config.json")[1]
    known = set(re.findall(r"^\| `(\w+)` \|", page.split("## Keys of tokenizer")[0], re.MULTILINE))
    assert set(vars(GenerationConfig())) - known == set()


def test_a_bad_value_of_generation_config_is_named(tmp_path, model):
    folder = tiny_models.copy_of(model, tmp_path / "model")
    (folder / "generation_config.json").write_text('{"top_p": 7}')
    error = generate(folder, "--prompt", "a", expect=2).stderr
    assert "generation_config.json: top_p" in error and error.count("\n") == 1


def test_a_prompt_begins_as_the_tokenizer_begins_it(tmp_path, model):
    folder = tiny_models.copy_of(model, tmp_path / "model")
    start = {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    tiny_models.edit_json(folder / "tokenizer.json", lambda tokenizer: tokenizer.update(post_processor={
        "type": "TemplateProcessing", "single": [start, text], "pair": [text, text],
        "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [4094], "tokens": ["<|im_start|>"]}}}))
    ids = AutoTokenizer.from_pretrained(folder)(PROMPTS[0]).input_ids
    assert ids[0] == 4094
    ours = generate(folder, "--prompt", PROMPTS[0], "--temperature", 0, "--max_new_tokens", 24)
    assert ours.stdout == text_of(model, continuation(model, ids, 24))
    ours = generate(folder, "--prompt", PROMPTS[0], "--temperature", 0, "--max_new_tokens", 24, "--add_special_tokens", "off")
    assert ours.stdout == text_of(model, continuation(model, ids[1:], 24))


def sampled(model, seed, *options):
    return generate(model, "--prompt", PROMPTS[0], "--max_new_tokens", 24, "--seed", seed, *options).stdout


def test_seeds(model):
    first = sampled(model, 1, "--temperature", 1)
    assert sampled(model, 1, "--temperature", 1) == first
    assert len({first, *(sampled(model, seed, "--temperature", 1) for seed in (2, 3))}) == 3


@pytest.mark.parametrize("options", [("--top_k", 1), ("--top_p", 1e-6), ("--temperature", 1e-4)])
def test_the_narrowest_choice_is_greedy(model, options):
    greedy = generate(model, "--prompt", PROMPTS[0], "--max_new_tokens", 24, "--temperature", 0).stdout
    assert sampled(model, 1, "--temperature", 1, *options) == greedy
    assert sampled(model, 1, "--temperature", 1) != greedy


# A review for a user and a film.

@pytest.mark.parametrize("film, earlier", [("盐湖快车", 0), ("雾港疑云", 2), ("南方来信", 3)])
@pytest.mark.parametrize("style", ["simple", "detailed"])
def test_a_review_of_a_film(model, data, film, earlier, style):
    """The prompt is that of the user's own review, which is not in it; for a film that the user has not reviewed all
    reviews are history, and there is no date."""
    own = USERS["影迷甲"]
    date = own[earlier].date if earlier < 3 else ""
    message = reviews.prompt("影迷甲", own[:earlier], Review(film, "", date), style=style)
    done = generate(model, "--data_file", data, "--user", "影迷甲", "--film", film, "--temperature", 0,
                    "--max_new_tokens", 32, "--prompt_style", style)
    assert done.stdout == text_of(model, continuation(model, reviews.prompt_ids(message), 32))
    assert f"user 影迷甲, film {film}, {earlier} earlier reviews" in done.stderr
    assert (own[min(earlier, 2)].text in done.stderr) == (earlier < 3)


def test_history_makes_room_for_the_answer(model, data):
    """max_length is for prompt and answer together; the oldest reviews go."""
    own = USERS["影迷甲"]
    prompts = [reviews.prompt_ids(reviews.prompt("影迷甲", own[2 - shown:2], own[2])) for shown in range(3)]
    max_length = len(prompts[1]) + 32 + 1  # the answer's end token has a place of its own
    assert len(prompts[2]) + 32 + 1 > max_length
    done = generate(model, "--data_file", data, "--user", "影迷甲", "--film", own[2].film, "--temperature", 0,
                    "--max_new_tokens", 32, "--max_length", max_length)
    assert done.stdout == text_of(model, continuation(model, prompts[1], 32))


@pytest.mark.parametrize("user, film, complaint", [
    ("影迷乙", "盐湖快车", ("--user 影迷乙", "did you mean '影迷甲'")), ("谁", "盐湖快车", ("--user 谁", "train.json")),
    ("影迷甲", "盐湖快", ("--film 盐湖快", "did you mean '盐湖快车'")), ("影迷甲", "Inception", ("--film Inception", "train.json"))])
def test_unknown_users_and_films(model, data, user, film, complaint):
    done = generate(model, "--data_file", data, "--user", user, "--film", film, expect=2)
    assert done.stdout == ""
    assert done.stderr.startswith("trireme: ") and done.stderr.count("\n") == 1
    assert all(part in done.stderr for part in complaint), done.stderr


def test_the_run_config_gives_model_and_data(tmp_path, model, data):
    config = {"model": {"path": str(model)}, "data": {"train_path": str(data)}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    options = ("--user", "路人", "--film", "机械鲸", "--temperature", 0, "--max_new_tokens", 8)
    assert (run("generate", "--config", tmp_path / "config.json", *options).stdout ==
            generate(model, "--data_file", data, *options).stdout)
