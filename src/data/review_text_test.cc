#include "data/review_text.h"

#include "data/review_testing.h"

namespace trireme::data {
namespace {

std::string utf8_error(const std::string& text) {
  return user_error([&] { require_utf8(text, "f"); });
}

TEST(ReviewText, WellFormedUtf8IsAccepted) {
  EXPECT_EQ(utf8_error("ascii only, longer than eight bytes"), "");
  EXPECT_EQ(utf8_error("é 电影 \U0001F602 \uFFFD \U0010FFFF \uD7FF"), "");
}

TEST(ReviewText, BadBytesNameTheirPlaceAndTheRemedy) {
  const std::string gbk = "好,x\n\xB5\xE7\xD3\xB0\n";  // 电影 in GBK on line 2
  EXPECT_EQ(utf8_error(gbk),
            "f:2:1: byte 0xB5 is not UTF-8 (GBK?): convert with iconv -f GBK -t UTF-8");
  EXPECT_TRUE(utf8_error("好好\xFF\n").starts_with("f:1:3: byte 0xFF"));
  EXPECT_NE(utf8_error("a\xC0\x80z"), "") << "overlong";
  EXPECT_NE(utf8_error("a\xED\xA0\x80z"), "") << "surrogate";
  EXPECT_NE(utf8_error("a\xF4\x90\x80\x80z"), "") << "beyond U+10FFFF";
  EXPECT_NE(utf8_error("abc\xE7\x94").find("truncated"), std::string::npos);
  EXPECT_TRUE(utf8_error(std::string("ab\nc\0d", 6)).starts_with("f:2:2: NUL byte"));
  EXPECT_NE(utf8_error("\xFF\xFEI\x01").find("UTF-16"), std::string::npos);
}

TEST(ReviewText, Blank) {
  EXPECT_TRUE(is_blank(""));
  EXPECT_TRUE(is_blank(" \n\t\u3000\u00A0\u200B"));
  EXPECT_FALSE(is_blank(" 。"));
}

TEST(ReviewText, OneLine) {
  EXPECT_EQ(one_line("a  b"), "a  b");
  EXPECT_EQ(one_line("a \r\n\r\n  b\nc"), "a b c");
  EXPECT_EQ(one_line("\n\na\n"), "a");
  EXPECT_EQ(one_line(" a "), " a ");
}

TEST(ReviewText, Dates) {
  EXPECT_TRUE(is_date("2016-02-29"));
  for (const char* bad :
       {"2015-02-29", "2015-13-01", "2015-1-1", "2015/01/01", "20150101", "", "2015-01-0x"}) {
    EXPECT_FALSE(is_date(bad)) << bad;
  }
  EXPECT_EQ(date_of_unix_seconds(0), "1970-01-01");
  EXPECT_EQ(date_of_unix_seconds(1318222486), "2011-10-10");
}

TEST(ReviewText, ValuesInMessagesAreShortAndOnOneLine) {
  EXPECT_EQ(in_quotes("a\nb"), "'a b'");
  std::string film;
  for (int i = 0; i < 200; ++i) film += "电";
  const std::string shown = in_quotes(film);
  EXPECT_LT(shown.size(), 50);
  EXPECT_EQ(utf8_error(shown), "") << "cut between characters";
}

}  // namespace
}  // namespace trireme::data
