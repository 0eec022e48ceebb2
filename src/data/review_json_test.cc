#include <ctime>

#include "data/review.h"
#include "data/review_testing.h"

namespace trireme::data {
namespace {

// One item of data[].
std::string item(const std::string& text, const std::string& prefix, const std::string& day,
                 const std::string& context = "[]") {
  return fmt::format(
      R"({{"context": {}, "continuation": "{}", "continuation_prefix": "{}", "timestamp": "{}"}})",
      context, text, prefix, day);
}

std::string user(const std::string& profile, const std::string& items) {
  return fmt::format(
      R"({{"user": {{"profile": {}}}, "task": {{"description": "任务", "task_behavior_collections": [)"
      R"({{"type": "dialogue", "data": [1, 2]}}, {{"type": "movie_review", "type_desc": "x", "data": [{}]}}]}}}})",
      profile, items);
}

ReviewSet read(const std::string& text) {
  const TestFolder folder;
  return read_reviews(folder.write("train.json", text));
}

std::string error_of(const std::string& text) {
  const std::string error = user_error([&] { read(text); });
  const size_t name = error.find("train.json");
  return name == error.npos ? error : error.substr(name);
}

TEST(ReviewJson, ListOfUsersOrOne) {
  const std::string one = user(R"({"name": "Y"})", item("b", "乙: ", "2015-02-01") + "," +
                                                       item("a", "甲：: ", "2015-01-01"));
  for (const std::string& text : {one, "[" + one + "]"}) {
    const ReviewSet set = read(text);
    ASSERT_EQ(set.users.size(), 1);
    EXPECT_EQ(set.users[0].name, "Y");
    EXPECT_EQ(set.users[0].task, "任务");
    EXPECT_EQ(set.users[0].reviews[0].text, "a");
    EXPECT_EQ(set.users[0].reviews[0].film, "甲：") << "only the last \": \" goes";
    EXPECT_FALSE(set.has_stars);
    EXPECT_EQ(set.dropped, (Tally{{"collection of type 'dialogue'", 2}}));
  }
  EXPECT_EQ(read("[" + one + "," + one + "]").users.size(), 2) << "one name, two people";
}

TEST(ReviewJson, FurtherProfileFieldsInFileOrder) {
  const ReviewSet set = read(user(
      R"({"profession": "x", "name": "Y", "age": 30, "dimensions": {"a": [1, "b"], "c": {"d": true}}, "unstructured": null})",
      item("b", "乙: ", "2015-02-01")));
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"profession", "x"}, {"age", "30"}, {"dimensions", "a: (1、b)；c: (d: true)"}};
  EXPECT_EQ(set.users[0].profile, expected);
}

TEST(ReviewJson, ContextTurnsInTheirSeveralForms) {
  const ReviewSet set =
      read(user(R"({"name": "Y"})",
                item("b", "乙: ", "2015-02-01 10:00:00",
                     R"([{"source": "A", "content": "c"}, {"role": "B", "text": "d"}, "e"])")));
  const std::vector<Turn>& context = set.users[0].reviews[0].context;
  ASSERT_EQ(context.size(), 3);
  EXPECT_EQ(context[0].role + context[0].content, "Ac");
  EXPECT_EQ(context[1].role + context[1].content, "Bd");
  EXPECT_EQ(context[2].role + context[2].content, "e");
}

TEST(ReviewJson, EmptyReviewsAreCounted) {
  const std::string profile = R"({"name": "Y"})";
  const ReviewSet set = read(
      "[" + user(profile, item("", "乙: ", "2015-02-01") + "," + item("b", "乙: ", "2015-02-01")) +
      "," + user(profile, "") + "]");
  EXPECT_EQ(set.users.size(), 1);
  EXPECT_EQ(set.dropped, (Tally{{"collection of type 'dialogue'", 4},
                                {"empty comment", 1},
                                {"user without reviews", 1}}));
}

TEST(ReviewJson, MistakesNameTheirJsonPath) {
  const std::string profile = R"({"name": "Y"})", good = item("b", "乙: ", "2015-02-01");
  EXPECT_EQ(
      error_of("[" + user(profile, good) + "," + user(profile, good + R"(,{"context": []})") + "]"),
      "train.json: [1].task.task_behavior_collections[1].data[1].continuation: missing");
  EXPECT_EQ(error_of(user(profile, R"({"continuation": 5})")),
            "train.json: task.task_behavior_collections[1].data[0].continuation: a string is "
            "expected, not number '5'");
  EXPECT_EQ(error_of(user("{}", good)), "train.json: user.profile.name: missing");
  EXPECT_EQ(error_of("[{}]"), "train.json: [0].user: missing");
  EXPECT_TRUE(error_of("[3]").starts_with("train.json: [0]: "));
  EXPECT_EQ(error_of(user(profile, item("b", "乙: ", "2015/02-01"))),
            "train.json: task.task_behavior_collections[1].data[0].timestamp: '2015/02-01': a day "
            "as YYYY-MM-DD is expected");
  EXPECT_TRUE(error_of(user(profile, item("b", ": ", "2015-02-01"))).find("no film") !=
              std::string::npos);
  EXPECT_TRUE(error_of(user(profile, item("b", "乙: ", "2015-02-01", "[7]")))
                  .find("context[0]: a string or an object") != std::string::npos);
  EXPECT_TRUE(error_of("[]").find("no reviews") != std::string::npos);
  EXPECT_TRUE(error_of("\"x\"").find("a list of users") != std::string::npos);
}

TEST(ReviewJson, UsersOneALine) {
  const std::string first = user(R"({"name": "Y"})", item("b", "乙: ", "2015-02-01")),
                    second = user(R"({"name": "Z"})", item("c", "乙: ", "2015-02-01"));
  const TestFolder folder;
  for (const char* name : {"train.jsonl", "train.json", "train"}) {
    const ReviewSet set = read_reviews(folder.write(name, first + "\r\n\n" + second + "\n"));
    ASSERT_EQ(set.users.size(), 2u) << name;
    EXPECT_EQ(set.users[1].name, "Z");
    EXPECT_EQ(set.users[1].reviews[0].position, 1) << "counted over all lines";
  }
  EXPECT_EQ(read_reviews(folder.write("one.jsonl", first)).users.size(), 1u);
  EXPECT_EQ(read(R"({"user":)"
                 "\n" +
                 first.substr(9))
                .users.size(),
            1u)
      << "one user over several lines";
  const auto error = [&](const std::string& line) {
    const std::string words =
        user_error([&] { read_reviews(folder.write("train.jsonl", first + "\n" + line + "\n")); });
    return words.substr(words.find("train.jsonl"));
  };
  EXPECT_EQ(error("{\"user\" 1}"), "train.jsonl:2:9: expected ':' after the key, found '1}'");
  EXPECT_EQ(error("{}"), "train.jsonl:2: user: missing");
}

// As Python's json module writes a missing number.
TEST(ReviewJson, NaNIsMissing) {
  const ReviewSet set = read(
      user(R"({"name": "Y", "age": NaN, "city": "NaN"})", item("b", "乙: ", "2015-02-01", "NaN")));
  const std::vector<std::pair<std::string, std::string>> expected = {{"city", "NaN"}};
  EXPECT_EQ(set.users[0].profile, expected);
  EXPECT_TRUE(set.users[0].reviews[0].context.empty());
}

TEST(ReviewJson, ADialogueMayRepeatItsWords) {
  const auto turn = [](const char* words) { return fmt::format("[\"{}\"]", words); };
  const ReviewSet set =
      read(user(R"({"name": "Y"})", item("ok", "乙: ", "2015-02-01", turn("a")) + "," +
                                        item("ok", "乙: ", "2015-02-02", turn("b")) + "," +
                                        item("ok", "乙: ", "2015-02-02", turn("a"))));
  EXPECT_EQ(set.users[0].reviews.size(), 2u);
}

TEST(ReviewJson, InvalidJsonNamesLineAndColumn) {
  // The quotes around the word are not escaped, as seen in real files.
  const std::string error = error_of("[\n{\"user\": \"不喜欢片尾的\"后来\"。\"}]");
  EXPECT_TRUE(error.starts_with("train.json:2:")) << error;
}

// The data may have as many types as it likes: reasons are kept for a hundred. A second is some ten
// times what this takes.
TEST(Count, ReasonsWithoutEndTakeLinearTime) {
  Tally tally;
  const std::clock_t start = std::clock();
  for (int i = 0; i < 300'000; ++i) count(tally, fmt::format("type {}", i));
  EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC);
  ASSERT_EQ(tally.size(), 101u);
  EXPECT_EQ(tally.back(), (Tally::value_type{"other reasons", 299'900}));
}

}  // namespace
}  // namespace trireme::data
