#include "data/unicode.h"

#include <gtest/gtest.h>

namespace trireme::data {
namespace {

using namespace std::string_literals;

TEST(Unicode, InvalidSequencesBecomeOneReplacementEach) {
  // The table of the Unicode standard, 3.9 (and of Rust's String::from_utf8_lossy).
  EXPECT_EQ(to_valid_utf8("a\xF1\x80\x80\xE1\x80\xC2"
                          "b\x80"
                          "c\x80\xBF"
                          "d"),
            "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd");
  EXPECT_EQ(to_valid_utf8("\xC0\xAF"), "\uFFFD\uFFFD");            // overlong
  EXPECT_EQ(to_valid_utf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");  // a surrogate
  EXPECT_EQ(to_valid_utf8("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(to_valid_utf8("\xE7\x94"), "\uFFFD");  // cut short
  EXPECT_EQ(to_valid_utf8("好看\0🎬"s), "好看\0🎬"s);
}

TEST(Unicode, CodePointsRoundTrip) {
  for (char32_t c : {U'\0', U'a', U'\u007F', U'\u0080', U'\u07FF', U'\u0800', U'影', U'\uFFFF',
                     U'\U00010000', U'\U0010FFFF'}) {
    std::string text;
    append_utf8(text, c);
    size_t position = 0;
    EXPECT_EQ(next_code_point(text, position), c);
    EXPECT_EQ(position, text.size());
    EXPECT_EQ(valid_utf8_prefix(text), text.size());
  }
}

TEST(Unicode, ComposesCanonically) {
  EXPECT_EQ(nfc("e\u0301"), "é");
  EXPECT_EQ(nfc("\u1100\u1161\u11A8"), "각");
  EXPECT_EQ(nfc("가\u11A8"), "각");    // an LV syllable and a jamo
  EXPECT_EQ(nfc("\uF900"), "\u8C48");  // a compatibility ideograph with a canonical equivalent
  EXPECT_EQ(nfc("ＡＢＣ　１"), "ＡＢＣ　１");    // compatibility forms stay
  EXPECT_EQ(nfc("a\u0315\u0300b"), "à\u0315b");  // marks are put in order
  EXPECT_EQ(nfc("a\0b\u0301"s), "a\0b\u0301"s);
  EXPECT_TRUE(is_surely_nfc("2017年，这部电影……真的“好看”！🎬 café"));
  EXPECT_FALSE(is_surely_nfc("e\u0301"));
}

TEST(Unicode, StripsAsPythonDoes) {
  EXPECT_EQ(strip(" \t　\u2028好 看\u00A0\x1C\n"), "好 看");
  EXPECT_EQ(strip("\u200B a"), "\u200B a");  // zero-width space is no white space
  EXPECT_EQ(strip(" \n"), "");
  EXPECT_EQ(strip(""), "");
}

}  // namespace
}  // namespace trireme::data
