#include "data/csv.h"

#include "data/review_testing.h"

namespace trireme::data {
namespace {

using Rows = std::vector<std::vector<std::string>>;

Rows read(const std::string& text) {
  CsvReader csv(text, "f.csv");
  Rows rows;
  while (csv.next()) {
    rows.emplace_back();
    for (size_t i = 0; i < csv.size(); ++i) rows.back().emplace_back(csv[i]);
  }
  return rows;
}

std::string error_of(const std::string& text) {
  return user_error([&] { read(text); });
}

TEST(Csv, PlainRowsWithEitherLineBreak) {
  const Rows expected = {{"a", "b"}, {"", "d"}, {"e", ""}};
  EXPECT_EQ(read("a,b\n,d\ne,\n"), expected);
  EXPECT_EQ(read("a,b\r\n,d\r\ne,\r\n"), expected);
  EXPECT_EQ(read("a,b\n\n,d\n\r\ne,"), expected) << "empty lines, no last line break";
  EXPECT_TRUE(read("").empty());
  EXPECT_TRUE(read("\n\n").empty());
}

TEST(Csv, QuotedFieldsHoldCommasLineBreaksAndQuotes) {
  EXPECT_EQ(read("\"a,b\",\"c\nd\"\r\n\"say \"\"hi\"\"\",\"\"\"\"\n\"\",x\n"),
            (Rows{{"a,b", "c\nd"}, {"say \"hi\"", "\""}, {"", "x"}}));
}

TEST(Csv, DoubledQuotesInSeveralFieldsOfARowDoNotDisturbEachOther) {
  const std::string many(1000, 'x');
  EXPECT_EQ(read("\"a\"\"b\",\"" + many + "\"\"\",\"\"\"c\"\n"),
            (Rows{{"a\"b", many + "\"", "\"c"}}));
}

TEST(Csv, LoneCarriageReturnIsContent) { EXPECT_EQ(read("a\rb,c\n"), (Rows{{"a\rb", "c"}})); }

TEST(Csv, PlaceCountsCharactersAndQuotedLines) {
  const std::string text = "h1,h2\n\"x\ny\",b\n电影,\"c\"\n";
  CsvReader csv(text, "f.csv");
  ASSERT_TRUE(csv.next() && csv.next());
  EXPECT_EQ(csv.place(0), "f.csv:2:1");
  EXPECT_EQ(csv.place(1), "f.csv:3:4");
  ASSERT_TRUE(csv.next());
  EXPECT_EQ(csv.place(1), "f.csv:4:4");
  EXPECT_FALSE(csv.cut_by_end());
}

TEST(Csv, RowCutByTheEndOfTheFile) {
  CsvReader csv("a,b\nc,d", "f.csv");
  csv.next();
  EXPECT_FALSE(csv.cut_by_end());
  csv.next();
  EXPECT_TRUE(csv.cut_by_end());
}

TEST(Csv, BrokenQuotesNameTheirPlace) {
  EXPECT_TRUE(error_of("a,b\nc,\"d\ne\n").starts_with("f.csv:2:3: broken quote"));
  EXPECT_TRUE(error_of("a,b\nc,d\"e\n").starts_with("f.csv:2:4: broken quote"));
  EXPECT_TRUE(error_of("a,b\n\"c\nd\"e,f\n").starts_with("f.csv:3:3: broken quote"));
  EXPECT_NE(error_of("a,b\n\"c\nd\"e,f\n").find("field at line 2"), std::string::npos);
  EXPECT_EQ(error_of("\"a\",\"b\""), "");
}

}  // namespace
}  // namespace trireme::data
