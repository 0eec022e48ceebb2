"""`trireme data` against an independent reading of the same files: counts, prompts, token lengths, the length budget,
the choice of samples."""
import csv
import json
import math
from collections import Counter

import pytest
import reviews
from program import run
from reviews import ABLATIONS, Review
from tiny_models import SAMPLE

TOKENIZER = ("--tokenizer", SAMPLE / "tokenizer")
END = "<|im_end|>"


def report(data, *options):
    return json.loads(run("data", "--data_file", data, *TOKENIZER, "--json", *options).stdout)


def framed(message):
    """The chat template of sample/tokenizer around the message."""
    return f"<|im_start|>system\n{message}{END}\n<|im_start|>assistant\n"


# The sample file.

@pytest.fixture(scope="module")
def sample_users():
    return reviews.read_dmsc_csv(reviews.SAMPLE_CSV)


@pytest.fixture(scope="module")
def sample_report():
    return report(reviews.SAMPLE_CSV)


def test_counts_of_the_sample_file(sample_report):
    with open(reviews.SAMPLE_CSV, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    full = [row for row in rows if row["Comment"].strip()]
    assert len(rows) > len(full) >= 2000
    assert sample_report["reviews"] == sample_report["samples"] == len(full)
    assert sample_report["users"] == len({row["Username"] for row in full}) == 200
    assert sample_report["films"] == len({row["Movie_Name_CN"] for row in full}) == 28
    assert sample_report["dropped"] == {"empty comment": len(rows) - len(full)}
    assert sample_report["validation"] == round(0.1 * len(full))
    assert sample_report["train"] + sample_report["validation"] == len(full)


def nearest_rank(ordered, share):
    return ordered[max(1, math.ceil(share * len(ordered))) - 1]


def length_statistics(samples):
    lengths = sorted(len(ids) for ids, _ in samples)
    return {"min": lengths[0], "median": nearest_rank(lengths, 0.5), "p90": nearest_rank(lengths, 0.9),
            "p99": nearest_rank(lengths, 0.99), "max": lengths[-1], "total": sum(lengths),
            "trained": sum(label != -100 for _, labels in samples for label in labels)}


def test_token_lengths_of_the_sample_file(sample_report, sample_users):
    """Every sample's prompt, history with stars included, encoded by the reference."""
    samples = reviews.samples(sample_users, stars=True)
    assert sample_report["tokens"] == length_statistics(samples)
    assert sample_report["history_dropped"] == {"samples": 0, "reviews": 0}
    bars = sample_report["histogram"]
    assert 2 <= len(bars) <= 13
    for bar in bars:
        assert bar["samples"] == sum(bar["from"] <= len(ids) < bar["to"] for ids, _ in samples)
    assert sum(bar["samples"] for bar in bars) == len(samples)


def test_packing_report(sample_report):
    tokens, packing = sample_report["tokens"], sample_report["packing"]
    assert math.ceil(tokens["total"] / 2048) <= packing["sequences"] < 1.1 * tokens["total"] / 2048
    assert packing["packed_efficiency"] == pytest.approx(tokens["total"] / (2048 * packing["sequences"]))
    assert packing["padded_efficiency"] == pytest.approx(tokens["total"] / (2048 * sample_report["samples"]))


def test_the_json_has_these_fields(sample_report):
    assert sample_report["data_file"] == str(reviews.SAMPLE_CSV)
    expected = {"ablation_config": "profile_and_history", "prompt_style": "simple", "chat_template": "default",
                "max_length": 2048}
    assert {name: sample_report[name] for name in expected} == expected
    assert set(sample_report["sample"]) == {"user", "film", "tokens", "trained_from", "prompt", "trained"}


def test_the_text_says_what_the_json_says(sample_report):
    text = run("data", "--data_file", reviews.SAMPLE_CSV, *TOKENIZER).stdout
    for name in ("reviews", "users", "films", "samples", "train", "validation"):
        assert f"{sample_report[name]:,} " in text, name
    for name in ("min", "median", "p90", "p99", "max"):
        assert f"{name} {sample_report['tokens'][name]:,}" in text, name
    shown = sample_report["sample"]
    assert text.endswith(f"{shown['prompt']}⟦{shown['trained']}⟧\n")
    assert "empty comment" in text


# Prompts: the last review of one user, whose sample is the one shown.

USER = [Review("盐湖快车", "第一条\n\n第二段。", "2015-01-01", 4), Review("机械鲸: ", "第二条", "2015-03-01", 2),
        Review("雾港疑云", "要写的这条，😀\n结束", "2015-04-03", None,
               tuple(("AB"[i % 2], f"第{i}句") for i in range(5)))]
PROFILE = {"age": 30, "gender": "女", "dimensions": {"爱好": ["跑步", "电影"]}}
PROFILE_LINES = ["年龄: 30", "性别: 女", "画像: 爱好: (跑步、电影)"]
LAST = ("--max_samples_per_user", 1)


@pytest.fixture(scope="module")
def one_user(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "train.json"
    return reviews.write_pipeline_json(path, {"然\n潘": USER}, PROFILE)


ASIDE = ("{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}{% if m.role == 'assistant' %}!<|im_end|>{% endif %}"
         "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}")


@pytest.mark.parametrize("which, frame, end", [
    ("chatml", framed, END), ("none", lambda message: message, END), ("file", lambda message: f"[system]{message}[assistant]", "!" + END)])
def test_another_chat_template_is_taken(tmp_path, one_user, which, frame, end):
    (tmp_path / "aside.jinja").write_text(ASIDE, encoding="utf-8")
    shown = report(one_user, *LAST, "--chat_template", tmp_path / "aside.jinja" if which == "file" else which)
    message = reviews.prompt("然\n潘", USER[:2], USER[2], "profile_and_history", "simple", profile=PROFILE_LINES)
    assert shown["sample"]["prompt"] == frame(message)
    assert shown["sample"]["trained"] == USER[2].text + end


@pytest.mark.parametrize("style", ["simple", "detailed"])
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_prompt_of_every_ablation_and_style(one_user, ablation, style):
    shown = report(one_user, *LAST, "--ablation_config", ablation, "--prompt_style", style)
    message = reviews.prompt("然\n潘", USER[:2], USER[2], ablation, style, profile=PROFILE_LINES)
    assert shown["sample"]["prompt"] == framed(message)
    assert shown["sample"]["trained"] == USER[2].text + END
    ids, labels = reviews.sample_ids(message, USER[2].text)
    assert shown["sample"]["tokens"] == len(ids)
    assert shown["sample"]["trained_from"] == labels.count(-100)
    profile, history, context = ABLATIONS[ablation]
    assert ("用户: 然 潘" in message, "历史影评记录 (2条)" in message, "第4句" in message) == (profile, history, context)


@pytest.mark.parametrize("turns", [0, 1, 4, 5, 100])
def test_max_context_turns(one_user, turns):
    shown = report(one_user, *LAST, "--ablation_config", "context_only", "--max_context_turns", turns)
    prompt = shown["sample"]["prompt"]
    assert prompt == framed(reviews.prompt("", [], USER[2], "context_only", turns=turns))
    assert [f"第{i}句" in prompt for i in range(5)] == [i >= 5 - turns for i in range(5)]


@pytest.mark.parametrize("option, shown", [("auto", True), ("on", True), ("off", False)])
def test_stars_in_the_history(tmp_path, option, shown):
    path = reviews.write_dmsc_csv(tmp_path / "DMSC.csv", {"甲": USER[:2]})
    prompt = report(path, *LAST, "--show_ratings", option)["sample"]["prompt"]
    assert prompt == framed(reviews.prompt("甲", USER[:1], USER[1], stars=shown))
    assert ("(4星)" in prompt) == shown


def test_the_first_review_has_no_history(tmp_path):
    path = reviews.write_dmsc_csv(tmp_path / "DMSC.csv", {"甲": USER[:1]})
    assert report(path)["sample"]["prompt"] == framed("用户: 甲\n\n模仿用户风格为电影《盐湖快车》写一条影评：")


# File formats.

def test_pipeline_json_is_sorted_and_other_collections_are_counted(tmp_path):
    path = reviews.write_pipeline_json(tmp_path / "train.json", {
        "甲": [Review("晚", "第三", "2016-01-01"), Review("早", "第一", "2014-01-01"), Review("同日", "第二", "2014-01-01"),
              Review("空", " \u3000\n", "2013-01-01")]})
    data = json.loads(path.read_text())
    data[0]["task"]["task_behavior_collections"].append({"type": "book_review", "data": [{}, {}]})
    path.write_text("// a comment\n" + json.dumps(data[0]))  # one user alone is accepted too
    shown = report(path, *LAST)
    assert shown["sample"]["prompt"].count("电影《早》: 第一\n  电影《同日》: 第二") == 1
    assert shown["sample"]["film"] == "晚"
    assert shown["reviews"] == 3
    assert shown["dropped"] == {"empty comment": 1, "collection of type 'book_review'": 2}


def test_dmsc_v2(tmp_path):
    users = {"7": [Review("盐湖快车", "好", "2015-06-01", 4), Review("机械鲸", "还行, 吧", "2015-06-02", None),
                   Review("雾港", "目标\n", "2015-06-03", 1)]}
    reviews.write_dmsc_v2(tmp_path, users)
    expected = framed(reviews.prompt("7", users["7"][:2], users["7"][2], style="detailed", stars=True))
    for path in (tmp_path, tmp_path / "ratings.csv"):
        shown = report(path, *LAST, "--prompt_style", "detailed")
        assert shown["sample"]["prompt"] == expected
        assert shown["sample"]["trained"] == "目标\n" + END
    assert "2015-06-01 电影《盐湖快车》(4星): 好" in expected


def test_quirks_of_csv_files(tmp_path):
    """BOM, CRLF, quoted line breaks, doubled quotes, stars as "3.0" and missing, columns in another order, no title."""
    text = ("\ufeffUsername,ID,Movie_Name_EN,Movie_Name_CN,Crawl_Date,Number,Date,Star,Comment,Like\r\n"
            '甲,2,E,晚,2017-01-01,1,2015-01-01,,"目标, ""引号""\r\n第二行",5\r\n'
            '"甲",1,"The ""English"" one",,2017-01-01,1,2015-01-01,3.0,"多行\r\n\r\n, 评论",5\r\n'
            "乙,3,E,晚,2017-01-01,1,2015-01-01,5,,5")
    (tmp_path / "x.csv").write_bytes(text.encode())
    shown = report(tmp_path / "x.csv", *LAST)
    expected = reviews.prompt("甲", [Review('The "English" one', "多行\n, 评论", stars=3)], Review("晚", ""), stars=True)
    assert shown["sample"]["prompt"] == framed(expected)
    assert shown["sample"]["trained"] == '目标, "引号"\r\n第二行' + END
    assert (shown["reviews"], shown["users"], shown["dropped"]) == (2, 1, {"empty comment": 1})


# Length.

LONG = [Review(f"影片{i}", f"{'很长的影评，' * (2 + i % 3)}第{i}条。") for i in range(9)] + [Review("目标", "这条必须完整。" * 3)]


def test_max_length_drops_the_oldest_history_first(tmp_path):
    path = reviews.write_pipeline_json(tmp_path / "train.json", {"甲": LONG})

    def ids_with(shown):
        history = LONG[9 - shown:9]
        return reviews.sample_ids(reviews.prompt("甲", history, LONG[9]), LONG[9].text)[0]

    lengths = [len(ids_with(shown)) for shown in range(10)]
    assert lengths == sorted(set(lengths))
    for max_length in [lengths[0], *(length + more for length in lengths[1:] for more in (-1, 0))]:
        shown = report(path, *LAST, "--max_length", max_length)
        fits = max(count for count in range(10) if lengths[count] <= max_length)
        assert shown["sample"]["prompt"] == framed(reviews.prompt("甲", LONG[9 - fits:9], LONG[9])), max_length
        assert shown["sample"]["trained"] == LONG[9].text + END
        assert shown["sample"]["tokens"] == lengths[fits] <= max_length
        assert shown["history_dropped"] == {"samples": int(fits < 9), "reviews": 9 - fits}
    least = lengths[0]
    done = run("data", "--data_file", path, *TOKENIZER, *LAST, "--max_length", least - 1, expect=2)
    assert f"--max_length {least}" in done.stderr


def test_samples_that_do_not_fit_are_dropped_and_counted(tmp_path):
    users = {"甲": [Review("短", "好")], "乙": [Review("长", "很长的影评，" * 200)], "丙": [Review("名" * 400, "好")]}
    shown = report(reviews.write_pipeline_json(tmp_path / "train.json", users), "--max_length", 300)
    assert (shown["reviews"], shown["samples"]) == (3, 1)
    assert shown["dropped"] == {"review alone longer than max_length": 1, "prompt and review longer than max_length": 1}


def test_control_tokens_in_users_texts_are_text(tmp_path):
    """The counts are those of an encoding in which only the template makes control tokens; with one more of them the
    sample would be shorter by the twelve tokens that its text takes."""
    text = f"前{END}\n<|im_start|>assistant\n后<|endoftext|>"
    user = [Review(END, text), Review(f"片{END}名", text)]
    shown = report(reviews.write_pipeline_json(tmp_path / "train.json", {f"名{END}": user}), *LAST)["sample"]
    ids, labels = reviews.sample_ids(reviews.prompt(f"名{END}", user[:1], user[1]), text)
    assert (shown["tokens"], shown["trained_from"]) == (len(ids), labels.count(-100))
    assert shown["trained"] == text + END
    assert len(reviews.plain_ids(END)) > 5


# Which samples.

def users_of(counts):
    return {f"用户{u}": [Review(f"影片{i}", f"第{i}条", f"2015-01-{i + 1:02}") for i in range(count)]
            for u, count in enumerate(counts)}


@pytest.mark.parametrize("options, most", [
    ((), 99), (("--max_samples_per_user", 3), 3), (("--max_samples_per_user", 3, "--sample_strategy", "random"), 3),
    (("--one_sample_per_user",), 1), (("--one_sample_per_user", "--max_samples_per_user", 4), 1)])
def test_samples_per_user(tmp_path, options, most):
    counts = [1, 2, 3, 4, 9]
    shown = report(reviews.write_dmsc_csv(tmp_path / "DMSC.csv", users_of(counts)), *options)
    assert shown["samples"] == sum(min(count, most) for count in counts)
    assert shown["reviews"] == sum(counts)


def test_sample_strategies(tmp_path):
    path = reviews.write_dmsc_csv(tmp_path / "DMSC.csv", users_of([8]))
    assert report(path, *LAST)["sample"]["film"] == "影片7"
    draws = [report(path, *LAST, "--sample_strategy", "random", "--sample_seed", seed)["sample"] for seed in range(12)]
    films = Counter(draw["film"] for draw in draws)
    assert len(films) >= 4  # 12 of 8 films: fewer has a probability below 1e-3
    for draw in draws:  # the history is the whole of what came before, drawn or not
        assert draw["prompt"].count("条\n  电影《影片") == max(0, int(draw["film"][-1]) - 1)
    again = report(path, *LAST, "--sample_strategy", "random", "--sample_seed", 3)["sample"]
    assert again == draws[3]


@pytest.mark.parametrize("split", ["time", "user"])
@pytest.mark.parametrize("ratio", [0, 0.1, 0.3, 0.9])
def test_share_of_validation_samples(tmp_path, split, ratio):
    counts = [1, 2, 3, 4, 5, 5, 5, 10, 1, 4]
    path = reviews.write_dmsc_csv(tmp_path / "DMSC.csv", users_of(counts))
    shown = report(path, "--split", split, "--val_ratio", ratio)
    assert shown["train"] + shown["validation"] == sum(counts) == 40
    if split == "time":
        assert shown["validation"] == round(40 * ratio)
    else:  # whole users come as near as they can
        assert abs(shown["validation"] - 40 * ratio) <= 5
        assert (shown["validation"] > 0) == (ratio > 0)
