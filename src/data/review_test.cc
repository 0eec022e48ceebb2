#include "data/review.h"

#include "data/review_testing.h"

namespace trireme::data {
namespace {

const std::string kHeader =
    "ID,Movie_Name_EN,Movie_Name_CN,Crawl_Date,Number,Username,Date,Star,Comment,Like\n";

// A row of DMSC.csv; comment as it stands in the file.
std::string row(int id, const std::string& user, const std::string& date, const std::string& star,
                const std::string& comment) {
  return fmt::format("{},Film,电影{},2017-01-22,1,{},{},{},{},5\n", id, id, user, date, star,
                     comment);
}

ReviewSet read_dmsc(const std::string& text) {
  const TestFolder folder;
  return read_reviews(folder.write("DMSC.csv", text));
}

std::string dmsc_error(const std::string& text) {
  return user_error([&] { read_dmsc(text); });
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

TEST(Dmsc, GroupsByUserInTimeOrder) {
  const ReviewSet set = read_dmsc(
      kHeader + row(7, "甲", "2015-05-14", "3", "c") + row(2, "乙", "2015-01-01", "", "x") +
      row(9, "甲", "2015-05-13", "3.0", "b") + row(3, "甲", "2015-05-13", "5", "a"));
  ASSERT_EQ(set.users.size(), 2);
  EXPECT_EQ(set.users[0].name, "甲");
  ASSERT_EQ(set.users[0].reviews.size(), 3);
  EXPECT_EQ(set.users[0].reviews[0].text, "a") << "ID decides within a day";
  EXPECT_EQ(set.users[0].reviews[1].text, "b");
  EXPECT_EQ(set.users[0].reviews[1].stars, 3);
  EXPECT_EQ(set.users[0].reviews[2].film, "电影7");
  EXPECT_FALSE(set.users[1].reviews[0].stars.has_value());
  EXPECT_TRUE(set.has_stars);
}

TEST(Dmsc, QuirksOfTheRealFile) {
  const std::string text = "\xEF\xBB\xBF" + kHeader +
                           row(0, "甲", "2015-05-14", "1", "\"两\n行, \"\"引\"\"\"") +
                           row(1, "\"a,b\"", "2015-05-14", "2", " 全角！😂 ");
  std::string crlf;
  for (char c : text) crlf += c == '\n' ? std::string("\r\n") : std::string(1, c);
  const ReviewSet set = read_dmsc(text);
  EXPECT_EQ(set.users[0].reviews[0].text, "两\n行, \"引\"");
  EXPECT_EQ(set.users[1].name, "a,b");
  EXPECT_EQ(set.users[1].reviews[0].text, " 全角！😂 ");
  EXPECT_EQ(read_dmsc(crlf).users[0].reviews[0].text, "两\r\n行, \"引\"");
}

TEST(Dmsc, EmptyCommentsAreDroppedAndCounted) {
  const ReviewSet set =
      read_dmsc(kHeader + row(0, "甲", "2015-05-14", "1", "") +
                row(1, "甲", "2015-05-14", "1", "\" \u3000\"") +
                row(2, "乙", "2015-05-14", "1", "x") + row(3, "", "2015-05-14", "1", "x"));
  ASSERT_EQ(set.users.size(), 1);
  EXPECT_EQ(set.users[0].name, "乙");
  EXPECT_EQ(set.dropped, (Tally{{"empty comment", 2}, {"no user name", 1}}));
}

TEST(Dmsc, ColumnsMayStandInAnyOrder) {
  const ReviewSet set = read_dmsc(
      "Comment,ID,Movie_Name_EN,Movie_Name_CN,Crawl_Date,Number,Username,Date,Star,Like,extra\n"
      "text,4,Film,,2017-01-22,1,u,2015-01-01,2,0,e\n");
  EXPECT_EQ(set.users[0].reviews[0].text, "text");
  EXPECT_EQ(set.users[0].reviews[0].film, "Film")
      << "the English title where there is no Chinese one";
}

TEST(Dmsc, BadHeader) {
  EXPECT_TRUE(
      contains(dmsc_error("a,b,c\n1,2,3\n"), ":1:1: bad header 'a': expected ID,Movie_Name_EN"));
  std::string renamed = kHeader;
  renamed.replace(renamed.find("Username"), 8, "UserName");
  const std::string error = dmsc_error(renamed + row(0, "u", "2015-01-01", "1", "x"));
  EXPECT_TRUE(contains(error, ":1:1: bad header: no column Username (did you mean 'UserName'?)"))
      << error;
  EXPECT_TRUE(contains(dmsc_error("ID," + kHeader + "0," + row(0, "u", "2015-01-01", "1", "x")),
                       ":1:4: bad header: two columns ID"));
}

TEST(Dmsc, BadRowsNameLineColumnAndValue) {
  const std::string good = row(0, "u", "2015-01-01", "1", "\"a\nb\"");
  const auto error = [&](const std::string& bad) { return dmsc_error(kHeader + good + bad); };
  EXPECT_TRUE(
      contains(error("1,Film,电影\n"), "DMSC.csv:4:1: short row: 3 fields, the header has 10"));
  EXPECT_TRUE(contains(error("1,Film,电影"), "truncated?"));
  EXPECT_TRUE(contains(error("1,F,电影,2017-01-22,1,u,2015-01-01,3,x,"), "truncated?"));
  EXPECT_TRUE(contains(error(row(1, "u", "2015-01-01", "1", "a,b")), ":4:1: long row: 11 fields"));
  EXPECT_TRUE(contains(error(row(1, "u", "2015-01-01", "6", "a")), ":4:38: Star is '6'"));
  for (const char* star : {"0", "3.5", "x", "33", "-1", "3."}) {
    EXPECT_TRUE(contains(error(row(1, "u", "2015-01-01", star, "a")), "Star is")) << star;
  }
  EXPECT_TRUE(contains(error(row(1, "u", "2015-13-01", "1", "a")), ":4:27: Date is '2015-13-01'"));
  EXPECT_TRUE(contains(error("x" + row(1, "u", "2015-01-01", "1", "a")), ":4:1: ID is 'x1'"));
  EXPECT_TRUE(contains(error(row(1, "u", "2015-01-01", "1", "\"a\"b")), "broken quote"));
  EXPECT_TRUE(contains(error("\xB5\xE7\n"), ":4:1: byte 0xB5 is not UTF-8 (GBK?)"));
}

TEST(Dmsc, NoRows) {
  EXPECT_TRUE(contains(dmsc_error(kHeader), ":2:1: no rows"));
  EXPECT_TRUE(contains(dmsc_error(""), ":1:1: the file is empty"));
  EXPECT_TRUE(contains(dmsc_error(kHeader + row(0, "u", "2015-01-01", "1", "")),
                       "no reviews in this file, 1 dropped: empty comment"));
}

TEST(DmscV2, FolderOrRatingsFile) {
  const TestFolder folder;
  folder.write("movies.csv", "movieId,title,title_cn\n0,Harbour,\"港, 湾\"\n1,Only English,\n");
  const std::string ratings =
      folder.write("ratings.csv",
                   "userId,movieId,rating,timestamp,comment,like\n"
                   "5,0,4,1318222486,later,1\n5,1,3,1318222400,earlier,1\n6,0,,1318222400,,1\n");
  for (const std::string& path : {folder.path(), ratings}) {
    const ReviewSet set = read_reviews(path);
    ASSERT_EQ(set.users.size(), 1);
    EXPECT_EQ(set.users[0].name, "5");
    EXPECT_EQ(set.users[0].reviews[0].text, "earlier") << "seconds decide within a day";
    EXPECT_EQ(set.users[0].reviews[0].film, "Only English");
    EXPECT_EQ(set.users[0].reviews[1].film, "港, 湾");
    EXPECT_EQ(set.users[0].reviews[1].date, "2011-10-10");
    EXPECT_EQ(set.users[0].reviews[1].stars, 4);
    EXPECT_EQ(set.dropped, (Tally{{"empty comment", 1}}));
  }
  const auto error = [&](const std::string& bad) {
    folder.write("ratings.csv", "userId,movieId,rating,timestamp,comment,like\n" + bad);
    return user_error([&] { read_reviews(ratings); });
  };
  EXPECT_TRUE(contains(error("5,9,4,1318222486,x,1\n"), "ratings.csv:2:3: movieId is '9'"));
  EXPECT_TRUE(contains(error("5,0,4,1318222486000,x,1\n"), ":2:7: timestamp is 1318222486000"));
  EXPECT_TRUE(contains(error("5,0,7,1318222486,x,1\n"), ":2:5: rating is '7'"));
  EXPECT_TRUE(
      contains(user_error([&] { read_reviews(folder.path() + "/movies.csv"); }), "list of films"));
  std::filesystem::remove(folder.path() + "/movies.csv");
  EXPECT_TRUE(contains(error("5,0,4,1318222486,x,1\n"), "movies.csv beside it"));
}

TEST(Read, FolderWithoutData) {
  const TestFolder folder;
  EXPECT_TRUE(contains(user_error([&] { read_reviews(folder.path()); }), "no ratings.csv"));
}

}  // namespace
}  // namespace trireme::data
