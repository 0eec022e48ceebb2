#include "deepspeed/hjson.h"

#include <gtest/gtest.h>

#include <ctime>

#include "base/error.h"
#include "config/json.h"

namespace trireme::deepspeed {
namespace {

config::Json parse(std::string_view text, config::KeyPlaces* places = nullptr) {
  return config::parse_json(without_hjson(text), "f.json", places);
}

std::string error_of(std::string_view text) {
  try {
    parse(text);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Hjson, CommentsAndTrailingCommas) {
  const config::Json json = parse(
      "# top\n{ // one\n \"a\": [1, 2, /* , */ ], # two, ]\n \"b\": {\"c\": 1e9,\n},\n}\n/* end "
      "*/");
  EXPECT_EQ(json.dump(), R"({"a":[1,2],"b":{"c":1000000000.0}})");
}

TEST(Hjson, StringsAreLeftAlone) {
  const config::Json json = parse(R"({"a": "# no // no /* no */ ,}", "b\"#": "\\", "c": ",]",})");
  EXPECT_EQ(json.dump(), R"({"a":"# no // no /* no */ ,}","b\"#":"\\","c":",]"})");
}

TEST(Hjson, PositionsAreThoseOfTheFile) {
  config::KeyPlaces places;
  parse("{ /* 评论 */ \"a\": 1, # 评\r\n  \"b\": [1,], \"c\": 2,}", &places);
  EXPECT_EQ(places.at("a"), "1:12");
  EXPECT_EQ(places.at("b"), "2:3");
  EXPECT_EQ(places.at("c"), "2:14");
}

// A second is some twenty times what this takes; quadratic time took many.
TEST(Hjson, TimeIsLinearInTheNumberOfComments) {
  std::string comments, open;
  for (int i = 0; i < 250'000; ++i) comments += "#评\n";
  for (int i = 0; i < 500'000; ++i) open += "/* ";
  const std::clock_t start = std::clock();
  EXPECT_EQ(without_hjson(comments).size(), 750'000u);
  EXPECT_TRUE(without_hjson(open) == open) << "never closed";
  EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC);
}

TEST(Hjson, MistakesStayMistakes) {
  EXPECT_EQ(error_of("{\n  stage: 3\n}"),
            "f.json:2:3: expected a key in double quotes, found 'stage: 3'");
  EXPECT_EQ(error_of("{\"device\": cpu}"), "f.json:1:12: expected a value, found 'cpu}'");
  EXPECT_EQ(error_of("{\"a\": 1,, }"), "f.json:1:9: expected a key in double quotes, found ', }'");
  EXPECT_EQ(error_of("{\"a\": 1 \"b\": 2}").substr(0, 12), "f.json:1:9: ");
  EXPECT_EQ(error_of("[,]"), "f.json:1:2: expected a value, found ',]'");
  EXPECT_EQ(error_of("{} /* open"), "f.json:1:11: invalid comment; missing closing '*/'");
  EXPECT_EQ(error_of("{\"a\": \"x\n,}").substr(0, 12), "f.json:1:9: ");
  EXPECT_EQ(error_of("{\"a\": 1,\n# \"b\": 2\n\"a\": 3,}"),
            "f.json:3:1: the key 'a' is given twice in one object: remove one");
  EXPECT_EQ(error_of("# nothing"), "f.json: empty: JSON is expected");
}

}  // namespace
}  // namespace trireme::deepspeed
