#!/usr/bin/env python3
"""Writes sample/DMSC_sample.csv: synthetic movie reviews in the shape of Douban Movie Short Comments, whose licence
does not allow redistribution. Films, people and reviews are invented. Each user has habits (an opening, a punctuation,
a signature, a script, a bias), each film its strengths, so that a model has something to learn from a user's history.

The quirks of the real file are there: line breaks, commas and doubled quotes inside comments, emoji, full-width forms,
traditional characters, empty comments, equal dates, stars written "3.0" or missing, and names that two people share.

Standard library only; the same seed writes the same bytes.   Usage: make_sample_data.py [--seed 7] [--out FILE]
"""
import argparse
import csv
import datetime
import pathlib
import random

HEADER = "ID,Movie_Name_EN,Movie_Name_CN,Crawl_Date,Number,Username,Date,Star,Comment,Like".split(",")
CRAWLED = "2017-08-01"
USERS = 200
SHARED_NAMES = 6  # names that two people have

# title (English, Chinese), first day, quality 1..5, what it is praised for, what it is blamed for
FILMS = [
    ("Salt Lake Express", "盐湖快车", "2010-03-12", 4, ["摄影", "站台戏"], ["节奏", "晚点的爱情"]),
    ("Paper Boat, Lighthouse", "纸船与灯塔", "2011-06-03", 5, ["音乐", "守塔人"], ["结尾", "慢镜头"]),
    ("Waiting Room 13", "第十三号候车室", "2011-09-30", 3, ["悬念", "密室"], ["逻辑", "三次反转"]),
    ("The Kite Repair Shop", "风筝修理店", "2012-01-20", 4, ["台词", "手工的细节"], ["配角", "说教"]),
    ("A Cat on the Platform", "月台上的猫", "2012-05-18", 5, ["那只猫", "站长爷爷"], ["广告植入", "煽情"]),
    ("Tin Roof", "铁皮屋顶", "2012-08-10", 2, ["美术", "雨声"], ["剧本", "口音"]),
    ("Letters from the South", "南方来信", "2012-12-07", 4, ["女主角", "信里的字"], ["旁白", "时间线"]),
    ("Letters from the South 2", "南方来信2", "2014-12-05", 2, ["女主角", "老演员"], ["旁白", "硬拍续集"]),
    ("Galaxy Convenience Store", "群星便利店", "2013-02-08", 4, ["笑点", "店员机器人"], ["特效", "尴尬的梗"]),
    ("The Clock That Ran Back", "倒走的钟", "2013-04-26", 3, ["设定", "第一幕"], ["逻辑", "自圆其说"]),
    ("Fog Harbour", "雾港疑云", "2013-07-19", 3, ["悬念", "码头夜景"], ["反派", "强行和解"]),
    ("Mechanical Whale", "机械鲸", "2013-10-01", 4, ["特效", "海底追逐"], ["感情戏", "口号"]),
    ("Mechanical Whale: Dive", "机械鲸：深潜", "2015-10-01", 2, ["特效", "潜水服"], ["剧本", "重复的爆炸"]),
    ("Summer of Xiaoman", "小满的夏天", "2014-05-21", 5, ["童年的味道", "蝉鸣"], ["片长", "方言字幕"]),
    ("A Borrowed Spring", "借来的春天", "2014-03-08", 3, ["配乐", "外景"], ["男主角", "偶像剧台词"]),
    ("Three and a Half Cooks", "三个半厨师", "2014-02-14", 4, ["笑点", "炒饭那场戏"], ["结尾", "第四个厨师"]),
    ("End of the Long Street", "长街的另一端", "2014-09-12", 3, ["长镜头", "路灯"], ["节奏", "没完没了的独白"]),
    ("The Glass General", "玻璃将军", "2015-01-30", 1, ["服装", "盔甲"], ["剧本", "替身"]),
    ("Radio behind the Hill", "山那边的广播站", "2015-04-17", 5, ["声音设计", "深夜节目"], ["片名", "突然的歌舞"]),
    ("Midnight Taxi No. 0", "零点出租车", "2015-06-26", 3, ["配角", "司机的故事"], ["反转", "路线"]),
    ("Egret Town", "白鹭镇往事", "2015-08-14", 4, ["方言", "水乡"], ["剪辑", "两条线"]),
    ("The Candy Wrapper Years", "糖纸时代", "2015-11-27", 2, ["怀旧", "老歌"], ["演技", "滤镜"]),
    ("The Last Ferry But One", "倒数第二班渡轮", "2016-02-19", 4, ["海上的光", "船长"], ["旁白", "哭戏"]),
    ("The Flying Carpenter", "会飞的木匠", "2016-04-29", 5, ["想象力", "木头翅膀"], ["宣传", "反派动机"]),
    ("Latitude Zero Point Five", "北纬零点五度", "2016-07-08", 3, ["摄影", "星空"], ["感情戏", "科学常识"]),
    ("Drummer and Tide", "鼓手与潮汐", "2016-09-30", 4, ["音乐", "最后的独奏"], ["反派", "失忆"]),
    ("Lost and Found Station", "失物招领车站", "2016-12-16", 4, ["群像", "那把红伞"], ["线索太多", "巧合"]),
    ("Project Kaleidoscope", "万花筒计划", "2017-03-31", 1, ["海报", "片头"], ["演技", "整整两个小时"]),
]

PRAISE = ["{plus}真的很好", "{plus}让人难忘", "最喜欢{plus}", "{plus}值回票价", "为了{plus}也要看", "{plus}一出来就起鸡皮疙瘩",
          "没想到{plus}这么用心", "{plus}比预告片里还要好", "光是{plus}就够我回味一个星期", "{plus}温柔得不像话", "请把{plus}的部分再放一遍",
          "{plus}撑起了整部片子"]
BLAME = ["{minus}太差", "{minus}是硬伤", "{minus}看得我出戏", "可惜{minus}拖了后腿", "{minus}完全不能忍", "{minus}像是临时凑出来的",
         "谁来管管{minus}", "{minus}毁了我的周末", "{minus}让全场观众一起叹气", "看到{minus}我就开始玩手机", "建议重做{minus}",
         "{minus}浪费了这么好的题材"]
MIXED = ["{plus}不错，{minus}一般", "除了{plus}，没什么可说的", "{plus}加分，{minus}减分", "{plus}和{minus}各打五十大板",
         "如果{minus}有{plus}一半用心就好了", "冲着{plus}来的，被{minus}送走了", "{plus}在线，{minus}掉线", "前半场靠{plus}，后半场怪{minus}"]
OPENINGS = ["", "说实话，", "首映看的，", "陪家人看的，", "二刷，", "期待很久，", "没想到", "作为影迷，", "深夜看完，", "朋友推荐，",
            "加班之后一个人去看，", "下雨天，", "抢到最后一张票，", "旁边的小孩一直在问为什么，", "本来不打算看，", "电影节补票，", "飞机上看完，",
            "带着爸妈，", "冷气太足，", "看完走路回家，"]
SIGNATURES = ["", "推荐", "不推荐", "再看一遍", "给导演加油", "片尾别走", "慢慢看", "等下一部", "就这样吧", "我哭了", "笑死我了",
              "下次不看首映", "爆米花比电影香", "这就是电影院的意义", "散场时没有人说话", "记得带纸巾", "不许剧透", "想起了外婆家的院子",
              "明天还要上班", "收藏进年度片单", "我和我的猫都很满意", "姑且相信一次续集", "片名可以再想想", "祝大家都有好电影看"]
STARS_SAID = {1: "一星", 2: "两星", 3: "三星", 4: "四星", 5: "五星"}
STOPS = ["。", "！", "～", "……", "!!!", " ", "．"]
EMOJI = ["😂", "👍", "😭", "🎬", "❤️", "🐱", "🤔"]

SIMPLIFIED = "实说话导让难欢为个灯会飞剧与车时来这没边点样将军铁顶猫广计划线镜头声设结节台词辑长戏旧鹭镇两荐后满转钟雾盐纸筝厨师摄悬逻给别怀云术乐减伤错装报领号价风万纬轮数么传请开谁费临凑题记带续员叹气场观众间鸡预还够温撑张机补毁爷滤红伞独潜细单条爱强码动乡蝉鸣议进许识"
TRADITIONAL = "實說話導讓難歡為個燈會飛劇與車時來這沒邊點樣將軍鐵頂貓廣計劃線鏡頭聲設結節臺詞輯長戲舊鷺鎮兩薦後滿轉鐘霧鹽紙箏廚師攝懸邏給別懷雲術樂減傷錯裝報領號價風萬緯輪數麼傳請開誰費臨湊題記帶續員嘆氣場觀眾間雞預還夠溫撐張機補毀爺濾紅傘獨潛細單條愛強碼動鄉蟬鳴議進許識"
TO_TRADITIONAL = str.maketrans(SIMPLIFIED, TRADITIONAL)
TO_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}

NAME_HEADS = ["海盐", "夜航", "半糖", "旧雨", "北窗", "拾贝", "风铃", "柚子", "青瓦", "石榴", "云朵", "迟到的", "不吃香菜的", "第三排的", "会游泳的", "慢半拍"]
NAME_TAILS = ["苏打", "小舟", "先生", "同学", "邮差", "猫", "鲸", "信号灯", "爆米花", "座位", "观众", "收音机", "散步者"]
LATIN_NAMES = ["Kiwi", "mono.", "Tofu_", "lazybee", "Ruru", "noon", "PopcornLab", "echo-", "Sol", "mint&co"]


class Person:
    """A name and the habits that make its reviews recognisable."""

    def __init__(self, rng, name):
        self.name = name
        self.bias = rng.choice([-1, -1, 0, 0, 0, 1, 1])
        self.opening = rng.choice(OPENINGS)
        self.stop = rng.choice(STOPS)
        self.signature = rng.choice(SIGNATURES)
        self.emoji = rng.choice(EMOJI) if rng.random() < 0.25 else ""
        self.traditional = rng.random() < 0.12
        self.full_width = rng.random() < 0.03
        self.says_stars = rng.random() < 0.2
        self.names_film = rng.random() < 0.3
        self.chatty = rng.random() < 0.25
        self.praise = rng.sample(PRAISE, 3)
        self.blame = rng.sample(BLAME, 3)
        self.mixed = rng.sample(MIXED, 3)

    def stars(self, rng, film):
        return min(5, max(1, film[3] + self.bias + rng.choice([-1, 0, 0, 0, 1])))

    def review(self, rng, film, stars):
        plus, minus = rng.choice(film[4]), rng.choice(film[5])
        pool = self.praise if stars >= 4 else self.blame if stars <= 2 else self.mixed
        parts = [rng.choice(pool)]
        if self.chatty:
            parts.append(rng.choice(self.blame if stars >= 4 else self.praise if stars <= 2 else self.mixed))
        if self.names_film:
            parts.insert(0, "《{film}》")
        if self.says_stars:
            parts.append(STARS_SAID[stars])
        if self.signature and rng.random() < 0.85:
            parts.append(self.signature)
        opening = self.opening if rng.random() < 0.85 else ""
        text = opening + self.stop.join(parts) + self.stop.strip() + self.emoji
        text = decorate(rng, text).format(plus=plus, minus=minus, film=film[1])
        if self.traditional:
            text = text.translate(TO_TRADITIONAL)
        return text.translate(TO_FULL_WIDTH) if self.full_width else text


def decorate(rng, text):
    """Now and then what breaks careless readers: line breaks, quotes, commas, spaces at the ends."""
    draw = rng.random()
    if draw < 0.012:
        return text + "\n\n另：{minus}。"
    if draw < 0.022:
        return text.replace("{plus}", '"{plus}"').replace("{minus}", '"{minus}"')
    if draw < 0.030:
        return "OK, well, " + text
    if draw < 0.034:
        return " " + text + " "
    return text


def make_people(rng):
    names = [head + tail for head in NAME_HEADS for tail in NAME_TAILS]
    rng.shuffle(names)
    names = names[:USERS - 30] + [rng.choice(LATIN_NAMES) + str(10 + i) for i in range(30)]
    return [Person(rng, name) for name in names + rng.sample(names, SHARED_NAMES)]


def make_reviews(rng, people):
    """Rows by film: [film index, name, date, star, comment, like]."""
    rows = []
    for person in people:
        count = min(len(FILMS), max(1, round(rng.gammavariate(2.2, 5.8))))
        for index in sorted(rng.sample(range(len(FILMS)), count)):
            film = FILMS[index]
            stars = person.stars(rng, film)
            first = datetime.date.fromisoformat(film[2])
            day = min(first + datetime.timedelta(days=int(rng.expovariate(1 / 9))), datetime.date(2017, 7, 31))
            comment = "" if rng.random() < 0.012 else person.review(rng, film, stars)
            draw = rng.random()
            written = "" if draw < 0.01 else f"{stars}.0" if draw < 0.02 else str(stars)
            rows.append([index, person.name, day.isoformat(), written, comment, int(rng.paretovariate(0.9)) - 1])
    return rows


def write(path, rows):
    rows.sort(key=lambda row: (row[0], -row[5], row[1], row[2]))
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        number = 0
        for i, (film, name, day, star, comment, like) in enumerate(rows):
            number = number + 1 if i and rows[i - 1][0] == film else 1
            writer.writerow([i, FILMS[film][0], FILMS[film][1], CRAWLED, number, name, day, star, comment, like])


def main():
    here = pathlib.Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=pathlib.Path, default=here / "sample" / "DMSC_sample.csv")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    rows = make_reviews(rng, make_people(rng))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write(options.out, rows)
    users, films = len({row[1] for row in rows}), len({row[0] for row in rows})
    print(f"{options.out}: {len(rows)} reviews, {users} users, {films} films, {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
