#include "config/json.h"

#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>
#include <limits>

#include "base/error.h"
#include "base/testing.h"
#include "config/python_json.h"

namespace trireme::config {
namespace {

std::string error_of(std::string_view text) {
  try {
    parse_json(text, "f.json");
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Json, TakesCommentsAndKeepsOrder) {
  const Json json =
      parse_json("// top\n{\"b\": 1, /* two\nlines */ \"a\": [\"//no\"]} // end\n", "f");
  EXPECT_EQ(json.dump(), R"({"b":1,"a":["//no"]})");
}

TEST(Json, ValuesSurvive) {
  const Json json = parse_json(R"({"x": 1e-05, "n": -3, "s": "\u5f71\ud83d\ude00\n"})", "f");
  EXPECT_EQ(json["x"].get<double>(), 1e-5);
  EXPECT_EQ(json["n"].get<int64_t>(), -3);
  EXPECT_EQ(json["s"].get<std::string>(), "影😀\n");
}

// json.dumps({"a": nan, "b": [inf, -inf], "NaN": "NaN -Infinity"}), with what has the words in it.
TEST(Json, NumbersThatPythonWrites) {
  const std::string text =
      R"({"a": NaN, "b": [Infinity, -Infinity], "NaN": "\"NaN -Infinity", "c": 1})";
  const std::string plain = without_python_numbers(text);
  EXPECT_EQ(plain.size(), text.size());
  EXPECT_EQ(plain.find("\"c\""), text.find("\"c\""));
  EXPECT_EQ(parse_json(plain, "f").dump(),
            R"({"a":"","b":["inf","-inf"],"NaN":"\"NaN -Infinity","c":1})");
  for (const char* other : {"[NaNa]", "[xNaN]", "[-NaN]", "[Infinity1]", "[\"NaN\"]"}) {
    EXPECT_EQ(without_python_numbers(other), other);
  }
}

TEST(Json, UnescapedQuoteNamesLineColumnInCharactersAndRemedy) {
  EXPECT_EQ(error_of("[\n  {\"评\": \"片尾的\"后来\"。\"}\n]"),
            "f.json:2:14: expected ',' or '}', found '后来\"。\"}': a quote inside a string is "
            "written \\\"");
}

TEST(Json, WhatWasExpected) {
  EXPECT_EQ(error_of("{\"a\" 1}"), "f.json:1:6: expected ':' after the key, found '1}'");
  EXPECT_EQ(error_of("{\"a\": }"), "f.json:1:7: expected a value, found '}'");
  EXPECT_EQ(error_of("{a: 1}"), "f.json:1:2: expected a key in double quotes, found 'a: 1}'");
  EXPECT_EQ(error_of("{\"a\": tru\"x\"}"), "f.json:1:7: expected a value, found 'tru\"x\"}'");
  EXPECT_EQ(error_of("[nul"), "f.json:1:2: expected a value, found 'nul'");
  EXPECT_EQ(
      error_of("[\"a\\\\\" \"b\\\"\"]"),
      "f.json:1:8: expected ',' or ']', found '\"b\\\"\"]': a quote inside a string is written "
      "\\\"");
  EXPECT_EQ(error_of("[1 2]"), "f.json:1:4: expected ',' or ']', found '2]'");
  EXPECT_EQ(error_of("{\"a\": 1\n \"b\": 2}"),
            "f.json:2:2: expected ',' or '}', found '\"b\": 2}'");
  EXPECT_EQ(
      error_of("{\"a\": 1}\n{\"a\": 2}\n"),
      "f.json:2:1: expected the end of the file, found '{\"a\": 2}': a value on each line (JSON "
      "Lines) is given where one is expected");
  EXPECT_EQ(error_of("{} {}"), "f.json:1:4: expected the end of the file, found '{}'");
  EXPECT_EQ(error_of("{\"a\": 1,\n"),
            "f.json:2:1: expected a key in double quotes, found the end of the file");
  EXPECT_EQ(error_of("{\"a\": True}"), "f.json:1:7: expected a value, found 'True}'");
  EXPECT_EQ(error_of("[1,\n]"),
            "f.json:2:1: expected a value, found ']': remove the comma before it");
  EXPECT_EQ(error_of("['a']"),
            "f.json:1:2: expected a value, found ''a']': strings are written in double quotes");
}

TEST(Json, FaultsInsideATokenAreNamed) {
  EXPECT_EQ(error_of("{\"a\": \"x\n\"}"),
            "f.json:1:9: invalid string: control character U+000A (LF) must be escaped to \\u000A "
            "or \\n");
  EXPECT_EQ(error_of("[\"\xB5\xE7\"]"), "f.json:1:3: invalid string: ill-formed UTF-8 byte");
  EXPECT_EQ(error_of("[1e999]"), "f.json:1:2: the number '1e999]' is too large");
  EXPECT_EQ(error_of("[1] /* open"), "f.json:1:12: invalid comment; missing closing '*/'");
}

TEST(Json, DuplicateKeysAreRefusedWhereTheSecondStands) {
  EXPECT_EQ(error_of("{\"a\": 1,\n  \"a\": 2}"),
            "f.json:2:3: the key 'a' is given twice in one object: remove one");
  EXPECT_EQ(error_of("{\"q\\\"\": 1, \"q\\\"\": 2}"),
            "f.json:1:12: the key 'q\"' is given twice in one object: remove one");
  EXPECT_EQ(error_of("[{\"a\": {\"a\": 1}}, {\"a\": 1}]"), "no error");
}

TEST(Json, EmptyAndNul) {
  EXPECT_EQ(error_of(" \n"), "f.json: empty: JSON is expected");
  EXPECT_EQ(error_of(std::string_view("{}\n\0x", 5)), "f.json:2:1: a NUL byte: JSON is text");
}

TEST(Json, KeyPlaces) {
  KeyPlaces places;
  parse_json("{\n  \"a\": {\"b\": 1},\n  \"c\": [{\"d\": 2}]}", "f", &places);
  EXPECT_EQ(places.at("a"), "2:3");
  EXPECT_EQ(places.at("a.b"), "2:9");
  EXPECT_EQ(places.at("c"), "3:3");
  EXPECT_EQ(places.at("c.d"), "3:10");
}

TEST(Json, KeyPlacesOfNamesLikeOthers) {
  KeyPlaces places;
  parse_json(
      "[{\"评\": {\"\": {\"b\": 1}}, \"a.b\": 2},\n {\"评\": {\"a\": {\"b\": 3}}, \"a\": {\"b\": "
      "4}}]",
      "f", &places);
  EXPECT_EQ(places.at("评"), "1:3") << "the first of equal paths";
  EXPECT_EQ(places.at("评..b"), "1:14");
  EXPECT_EQ(places.at("评.a.b"), "2:15");
  EXPECT_EQ(places.at("a.b"), "1:24");
}

TEST(Json, DeepNestingIsRefusedWhereItStands) {
  const auto nested = [](int64_t levels) {
    return "{\"a\": " + std::string(levels - 1, '[') + std::string(levels - 1, ']') + "}";
  };
  EXPECT_EQ(parse_json(nested(kDeepestJson), "f").dump().size(), nested(kDeepestJson).size() - 1);
  EXPECT_EQ(error_of(nested(kDeepestJson + 1)), "f.json:1:106: nested more than 100 levels deep");
  EXPECT_EQ(error_of("{\"a\":\n" + std::string(100'000, '[')),
            "f.json:2:100: nested more than 100 levels deep");
}

// A second is some thirty times what this takes; quadratic time took over ten.
TEST(Json, TimeIsLinearInTheNumberOfKeysAndTheirPlaces) {
  std::string text = "{\"first\": 0";
  for (int i = 0; i < 40'000; ++i) text += fmt::format(",\n \"key{}\": {{\"in\": {}}}", i, i);
  text += "}";
  const std::clock_t start = std::clock();
  KeyPlaces places;
  const Json json = parse_json(text, "f", &places);
  EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC);
  EXPECT_EQ(json.size(), 40'001u);
  EXPECT_EQ(places.at("key39999.in"), "40001:15");
}

TEST(Json, WholeNumbersAreNeitherCutNorWrapped) {
  const auto most = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(whole_number(Json::parse("7"), 0, most), 7);
  EXPECT_EQ(whole_number(Json::parse("9223372036854775807"), 0, most), most);
  EXPECT_EQ(whole_number(Json::parse("-100"), -100, 0), -100);
  for (const char* text : {"18446744073709551516", "9223372036854775808", "1.9", "1.0", "1e3", "-1",
                           "\"1\"", "true", "null", "[1]"}) {
    EXPECT_EQ(whole_number(Json::parse(text), 0, most), std::nullopt) << text;
  }
  EXPECT_EQ(whole_number(Json::parse("4294967296"), 0, 4294967295), std::nullopt);
}

TEST(Json, TextOfStringsThatAreNotUtf8) {
  EXPECT_EQ(json_text({{"path", "a\xff"}}), "{\"path\":\"a\uFFFD\"}");
}

TEST(Json, FilesThatCannotBeRead) {
  const auto folder = std::filesystem::temp_directory_path();
  EXPECT_THROW(read_json(folder.string()), UserError);
  EXPECT_THROW(read_json((folder / "trireme_no_such_file.json").string()), UserError);
  EXPECT_EQ(user_error([] { read_json("/dev/zero"); }),
            "/dev/zero: a device: not a regular file: copy what it holds to one");
}

TEST(Json, AFileTooLongIsRefusedUnread) {
  const TestFolder folder;
  const std::string path = folder.write("big.json", "{}");
  std::filesystem::resize_file(path, (uint64_t{64} << 20) + 1);
  EXPECT_EQ(user_error([&] { read_json(path); }),
            path + ": 64.0 MiB long, at most 64.0 MiB are expected: is it the right file?");
  EXPECT_EQ(user_error([&] { read_text(path, 1000); }),
            path + ": 64.0 MiB long, at most 1000 B are expected: is it the right file?");
}

}  // namespace
}  // namespace trireme::config
