#include "data/normalizer.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace trireme::data {
namespace {

using config::Json;

std::string normal(const Json& json, const std::string& text) {
  return Normalizer(json, "t.json")(std::string_view(text));
}

std::string complaint(const Json& json) {
  try {
    const Normalizer normalizer(json, "t.json");
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

Json replace(const char* kind, const char* pattern, const char* content) {
  return {{"type", "Replace"}, {"pattern", {{kind, pattern}}}, {"content", content}};
}

// Expected texts are those of `tokenizers` 0.23.
TEST(Normalizer, EachKind) {
  EXPECT_EQ(normal(nullptr, "e\u0301 A"), "e\u0301 A");
  EXPECT_EQ(normal({{"type", "NFC"}}, "e\u0301"), "\u00e9");
  EXPECT_EQ(normal({{"type", "Lowercase"}}, "ÀΣ İK"), "àσ i\u0307k");
  EXPECT_EQ(normal({{"type", "Strip"}, {"strip_left", true}, {"strip_right", false}}, "\u3000a \n"),
            "a \n");
  EXPECT_EQ(normal({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}}, " \t "), "");
  EXPECT_EQ(normal({{"type", "Prepend"}, {"prepend", "_"}}, "a"), "_a");
  EXPECT_EQ(normal({{"type", "Prepend"}, {"prepend", "_"}}, ""), "");
  EXPECT_EQ(normal(replace("String", " ", "_"), " a  b"), "_a__b");
  EXPECT_EQ(normal(replace("Regex", "\\s+", "$1"), " a  b"), "$1a$1b");
  const Json steps = Json::array({{{"type", "Lowercase"}}, replace("String", "a", "bb")});
  EXPECT_EQ(normal({{"type", "Sequence"}, {"normalizers", steps}}, "AxA"), "bbxbb");
}

TEST(Normalizer, WhatSeveralWroteIsTheStrictestOnes) {
  const std::string authors = {static_cast<char>(Author::kTemplate),
                               static_cast<char>(Author::kUser),
                               static_cast<char>(Author::kTemplate)};
  const AuthoredText text("A  ", authors);
  const auto authors_of = [&](const Json& json) {
    return Normalizer(json, "t.json")(text).view().authors();
  };
  const std::string user(1, static_cast<char>(Author::kUser));
  const std::string own(1, static_cast<char>(Author::kTemplate));
  EXPECT_EQ(authors_of(replace("Regex", " +", "__")), own + user + user);
  EXPECT_EQ(authors_of({{"type", "Lowercase"}}), authors);
  EXPECT_EQ(authors_of({{"type", "Strip"}}), own);
  EXPECT_EQ(authors_of({{"type", "Prepend"}, {"prepend", "x"}}), own + authors);
}

TEST(Normalizer, RefusesByName) {
  EXPECT_EQ(complaint(replace("Regex", "a*", "b")),
            "t.json: normalizer Replace has the pattern 'a*', which matches no character too: that "
            "is not supported");
  EXPECT_EQ(complaint(replace("String", "", "b")),
            "t.json: normalizer Replace has the pattern {\"String\":\"\"}: only a String is "
            "supported");
  EXPECT_NE(complaint({{"type", "Precompiled"}}).find("'Precompiled' is not supported"),
            std::string::npos);
  EXPECT_NE(complaint({{"type", "Sequence"}}).find("no list of normalizers"), std::string::npos);
}

}  // namespace
}  // namespace trireme::data
