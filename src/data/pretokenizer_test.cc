#include "data/pretokenizer.h"

#include <gtest/gtest.h>

#include <ctime>

#include "base/error.h"
#include "base/testing.h"
#include "data/tokenizer_testing.h"

namespace trireme::data {
namespace {

using config::Json;
using namespace testing_tools;
using Pieces = std::vector<std::string>;

Pieces split(const Json& json, std::string_view text) {
  const PreTokenizer pre_tokenizer(json, "t.json");
  PreTokenizer::Scratch scratch;
  std::vector<std::string_view> pieces;
  pre_tokenizer.split(text, /*at_start=*/true, pieces, scratch);
  return {pieces.begin(), pieces.end()};
}

Json sequence(std::initializer_list<Json> steps) {
  Json list = Json::array();
  for (const Json& step : steps) list.push_back(step);
  return {{"type", "Sequence"}, {"pretokenizers", list}};
}

std::string complaint(const Json& json) {
  try {
    PreTokenizer(json, "t.json");
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(PreTokenizer, QwenPieces) {
  const Json qwen = sequence({split_step(kQwenPattern), byte_level(false)});
  EXPECT_EQ(split(qwen, "I'm 12 好看！\n\n  x"),
            (Pieces{"I", "'m", " ", "1", "2", " 好看", "！\n\n", " ", " x"}));
  EXPECT_EQ(split(qwen, "'ſa"), (Pieces{"'ſ", "a"}));  // long s folds to s, as in the reference
  EXPECT_EQ(split(qwen, ""), Pieces{});
}

TEST(PreTokenizer, MongolianVowelSeparatorIsNoWhiteSpace) {
  const Json qwen = sequence({split_step(kQwenPattern), byte_level(false)});
  EXPECT_EQ(split(qwen, "a\u180E b"), (Pieces{"a", "\u180E", " b"}));
  EXPECT_EQ(split(qwen, "a\u0085\u3000b"), (Pieces{"a", "\u0085", "\u3000b"}));
}

TEST(PreTokenizer, Gpt2PiecesAfterDigits) {
  const Json digits = {{"type", "Digits"}, {"individual_digits", true}};
  EXPECT_EQ(split(sequence({digits, byte_level(true)}), "a 12 don't"),
            (Pieces{"a", " ", "1", "2", " don", "'t"}));
  EXPECT_EQ(split(byte_level(true), "a 12 don't"), (Pieces{"a", " 12", " don", "'t"}));
}

TEST(PreTokenizer, AMegabyteOfSpacesIsNoError) {
  const Json qwen = sequence({split_step(kQwenPattern), byte_level(false)});
  std::string text(1 << 20, ' ');
  text += 'x';
  EXPECT_EQ(split(qwen, text).size(), 2u);
}

// Exponential in the length of a word, which PCRE2 gives up on; and one that exhausts the stack of
// its compiled code. Five seconds are some hundred times what they take.
TEST(PreTokenizer, APatternThatPcre2GivesUpOnIsAMistakeOfTheFile) {
  std::string words;
  for (int i = 0; i < 30'000; ++i) words += "ab ";
  for (const char* pattern : {"(?:\\p{L}+\\s?)+\\d", "(?:a|b|\\s)+\\d"}) {
    const std::clock_t start = std::clock();
    const Json json = sequence({split_step(pattern), byte_level(false)});
    const std::string error = user_error([&] { split(json, words); });
    const auto expected = fmt::format(
        "t.json: pre_tokenizer pattern '{}' gives up on a text of 90000 bytes: ", pattern);
    EXPECT_TRUE(error.starts_with(expected)) << error;
    EXPECT_LT(std::clock() - start, 5 * CLOCKS_PER_SEC);
  }
}

TEST(PreTokenizer, SplitsInAllTheReferencesWays) {
  const auto with = [](const std::string& behavior, bool invert = false) {
    Json json = split_step("-");
    json["behavior"] = behavior;
    json["invert"] = invert;
    return split(json, "a--b-c-");
  };
  EXPECT_EQ(with("Isolated"), (Pieces{"a", "-", "-", "b", "-", "c", "-"}));
  EXPECT_EQ(with("Removed"), (Pieces{"a", "b", "c"}));
  EXPECT_EQ(with("Removed", true), (Pieces{"-", "-", "-", "-"}));
  EXPECT_EQ(with("MergedWithPrevious"), (Pieces{"a-", "-", "b-", "c-"}));
  EXPECT_EQ(with("MergedWithNext"), (Pieces{"a", "-", "-b", "-c", "-"}));
  EXPECT_EQ(with("Contiguous"), (Pieces{"a", "--", "b", "-", "c", "-"}));
}

TEST(PreTokenizer, RefusesByName) {
  EXPECT_EQ(complaint({{"type", "UnicodeScripts"}}),
            "t.json: pre_tokenizer UnicodeScripts is not supported: known are ByteLevel, Digits, "
            "Metaspace, Punctuation, Sequence, Split, Whitespace, WhitespaceSplit");
  Json step = split_step("a");
  step["behavior"] = "Doubled";
  EXPECT_NE(complaint(sequence({step})).find("behavior Doubled"), std::string::npos);
  EXPECT_EQ(complaint({{"type", "Metaspace"}, {"replacement", "__"}}),
            "t.json: Metaspace.replacement is '__': one character is expected");
  EXPECT_NE(complaint(sequence({split_step("(a"), byte_level(false)}))
                .find("not a valid regular expression"),
            std::string::npos);
}

TEST(PreTokenizer, RefusesSyntaxThatTheTwoLibrariesReadDifferently) {
  for (const char* pattern : {"\\h", "\\w", "[a&&b]", "[[:alpha:]]", "(?<n>a)", "^a", "a.",
                              "\\p{Han}", "a{2}+", "[^\\S]", "\\x41", "(?i)a"}) {
    EXPECT_THROW(to_pcre2(pattern, "t.json"), UserError) << pattern;
  }
  EXPECT_EQ(to_pcre2("[^\\s\\p{L}]++\\.|\\S{1,3}", "t.json"),
            "[^\\x09-\\x0d\\x20\\x{85}\\p{Z}\\p{L}]++\\.|[^\\x09-\\x0d\\x20\\x{85}\\p{Z}]{1,3}");
}

}  // namespace
}  // namespace trireme::data
