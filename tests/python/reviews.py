"""Review files for the tests, and an account of what trireme makes of them that shares no code with it: prompts as
src/data/prompt.h describes them, and token ids by the `tokenizers` package."""
import csv
import dataclasses
import datetime
import json
import pathlib
import re

from tokenizers import Tokenizer

from tiny_models import IM_END, SAMPLE

SAMPLE_CSV = SAMPLE / "DMSC_sample.csv"
DMSC_HEADER = "ID,Movie_Name_EN,Movie_Name_CN,Crawl_Date,Number,Username,Date,Star,Comment,Like".split(",")

# name: (profile, history, context)
ABLATIONS = {"profile_and_history_and_context": (True, True, True), "profile_and_history": (True, True, False),
             "profile_and_context": (True, False, True), "history_and_context": (False, True, True),
             "profile_only": (True, False, False), "history_only": (False, True, False),
             "context_only": (False, False, True), "baseline": (False, False, False)}


@dataclasses.dataclass
class Review:
    film: str
    text: str
    date: str = "2015-01-01"
    stars: int | None = None
    context: tuple = ()  # (role, content) pairs


# Files.

def write_pipeline_json(path, users, profile=None, encoding="utf-8"):
    """The existing pipeline's train.json; `users`: {name: [Review, ...]}."""
    def item(review):
        return {"context": [{"role": role, "content": content} for role, content in review.context],
                "continuation": review.text, "continuation_prefix": f"{review.film}: ", "timestamp": review.date}

    data = [{"user": {"profile": {"name": name, **(profile or {})}},
             "task": {"description": "模拟该用户的影评风格", "task_behavior_collections": [
                 {"type": "movie_review", "type_desc": "豆瓣影评数据", "data": [item(r) for r in reviews]}]}}
            for name, reviews in users.items()]
    path = pathlib.Path(path)
    path.write_text(json.dumps(data, ensure_ascii=False, indent=2), encoding=encoding)
    return path


def dmsc_rows(users):
    """Rows of DMSC.csv, ordered by user; IDs count up."""
    reviews = [(name, review) for name, own in users.items() for review in own]
    return [{"ID": i, "Movie_Name_EN": "A Film", "Movie_Name_CN": review.film, "Crawl_Date": "2017-08-01",
             "Number": i + 1, "Username": name, "Date": review.date,
             "Star": "" if review.stars is None else review.stars, "Comment": review.text, "Like": 0}
            for i, (name, review) in enumerate(reviews)]


def write_dmsc_csv(path, users):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, DMSC_HEADER, lineterminator="\n")
        writer.writeheader()
        writer.writerows(dmsc_rows(users))
    return pathlib.Path(path)


def write_dmsc_v2(folder, users):
    """ratings.csv and movies.csv; a review's time is noon of its day, UTC."""
    films = sorted({review.film for own in users.values() for review in own})
    with open(folder / "movies.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["movieId", "title", "title_cn"]] +
                                   [[i, f"Film {i}", film] for i, film in enumerate(films)])
    with open(folder / "ratings.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow("userId,movieId,rating,timestamp,comment,like".split(","))
        for name, own in users.items():
            for review in own:
                noon = datetime.datetime.fromisoformat(f"{review.date}T12:00:00+00:00")
                writer.writerow([name, films.index(review.film), "" if review.stars is None else f"{review.stars}.0",
                                 int(noon.timestamp()), review.text, 3])
    return folder


def read_dmsc_csv(path):
    """{name: [Review, ...]} in time order, without reviews that have no text."""
    users = {}
    with open(path, encoding="utf-8-sig", newline="") as file:
        for row in sorted(csv.DictReader(file), key=lambda row: (row["Date"], int(row["ID"]))):
            if row["Comment"].strip():
                stars = int(float(row["Star"])) if row["Star"] else None
                users.setdefault(row["Username"], []).append(
                    Review(row["Movie_Name_CN"], row["Comment"], row["Date"], stars))
    return users


# Prompts.

def one_line(text):
    return " ".join(part for part in re.split(r"[ \t\r\n]*[\r\n][ \t\r\n]*", text) if part)


def history_line(review, detailed, stars):
    date = f"{review.date} " if detailed else ""
    rating = f"({review.stars}星)" if stars and review.stars else ""
    return f"  {date}电影《{one_line(review.film)}》{rating}: {one_line(review.text)}"


def prompt(name, history, review, ablation="profile_and_history", style="simple", stars=False, turns=15, profile=()):
    """The message for writing `review` after `history`; `profile`: lines after the name."""
    use_profile, use_history, use_context = ABLATIONS[ablation]
    detailed = style == "detailed"
    sections = []
    if use_profile:
        sections.append((["【用户】"] if detailed else []) + [f"用户: {one_line(name)}", *profile])
    if use_history and history:
        sections.append((["【历史影评】"] if detailed else []) + [f"历史影评记录 ({len(history)}条):"] +
                        [history_line(earlier, detailed, stars) for earlier in history])
    if use_context and review.context:
        left_out = max(0, len(review.context) - turns)
        note = [f"（前面省略了 {left_out} 轮对话，以下是最近的 {turns} 轮）"] if left_out else []
        sections.append((["【对话】"] if detailed else []) + ["对话记录:"] + note +
                        [f"  {role}: {content}" for role, content in review.context[left_out:]])
    if detailed:
        sections.append(["【当前影片】", f"电影《{one_line(review.film)}》"] +
                        ([f"时间: {review.date}"] if review.date else []))
    sections.append([f"模仿用户风格为电影《{one_line(review.film)}》写一条影评："])
    return "\n\n".join("\n".join(lines) for lines in sections)


# Tokens.

_tokenizer = Tokenizer.from_file(str(SAMPLE / "tokenizer" / "tokenizer.json"))
_tokenizer.encode_special_tokens = True  # "<|im_end|>" in a text is text
IM_START = _tokenizer.token_to_id("<|im_start|>")


def plain_ids(text):
    return _tokenizer.encode(text, add_special_tokens=False).ids


def prompt_ids(message):
    """The chat template of sample/tokenizer around a system message, ready for the answer."""
    return [IM_START, *plain_ids("system\n" + message), IM_END, *plain_ids("\n"), IM_START, *plain_ids("assistant\n")]


def sample_ids(message, answer):
    """(ids, labels): the answer and its end of turn are trained."""
    start, end = prompt_ids(message), [*plain_ids(answer), IM_END]
    return start + end, [-100] * len(start) + end


def samples(users, **options):
    """[(ids, labels)] of every review with all the earlier ones as history."""
    return [sample_ids(prompt(name, own[:i], review, **options), review.text)
            for name, own in users.items() for i, review in enumerate(own)]
