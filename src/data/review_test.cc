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

TEST(Dmsc, OnlyTheColumnsThatAreUsedInAnyCase) {
  const ReviewSet set = read_dmsc(
      "movie_name_cn,USERNAME,date,comment\n片甲,u,2015-01-01,first\n片乙,u,2015-01-01,second\n");
  ASSERT_EQ(set.users[0].reviews.size(), 2u);
  EXPECT_EQ(set.users[0].reviews[1].text, "second") << "the order of rows within a day";
  EXPECT_EQ(set.users[0].reviews[1].film, "片乙");
  EXPECT_FALSE(set.has_stars);
  const ReviewSet lower = read_dmsc(
      "id,movie_name_en,movie_name_cn,crawl_date,number,username,date,star,comment,like\n" +
      row(0, "u", "2015-01-01", "4", "x"));
  EXPECT_EQ(lower.users[0].reviews[0].stars, 4);
  // A column in its own case is that column, whatever stands beside it.
  EXPECT_EQ(read_dmsc("date,Movie_Name_CN,Username,Date,Comment\nx,F,u,2015-01-01,t\n")
                .users[0]
                .reviews[0]
                .date,
            "2015-01-01");
}

TEST(Dmsc, DatesAndStarsAsToolsWriteThem) {
  for (const char* date : {"2016/1/10", "2016-1-10", "2016/01/10", " 2016-01-10"}) {
    EXPECT_EQ(read_dmsc(kHeader + row(0, "u", date, "1", "x")).users[0].reviews[0].date,
              "2016-01-10");
  }
  EXPECT_EQ(read_dmsc(kHeader + row(0, "u", "2016/1/10 8:00", "1", "x")).users[0].reviews[0].date,
            "2016-01-10 8:00");
  for (const char* date :
       {"2016/1-10", "10/1/2016", "2016/13/1", "2016/1", "2016.1.10", "16/1/10"}) {
    EXPECT_TRUE(contains(dmsc_error(kHeader + row(0, "u", date, "1", "x")), "Date is")) << date;
  }
  for (const char* star : {"nan", "NaN", "null", "None", "NA"}) {
    const ReviewSet set = read_dmsc(kHeader + row(0, "u", "2016-01-10", star, "x"));
    EXPECT_FALSE(set.users[0].reviews[0].stars.has_value()) << star;
  }
}

// Two crawls of a page, with other numbers of likes; and what only looks like it.
TEST(Dmsc, AReviewThatStandsTwiceCountsOnce) {
  const auto of_film = [](int id, const std::string& film, const std::string& user,
                          const std::string& date, const std::string& comment, int like) {
    return fmt::format("{},F,{},2017-01-22,1,{},{},5,{},{}\n", id, film, user, date, comment, like);
  };
  const ReviewSet set = read_dmsc(kHeader + of_film(0, "片甲", "u", "2016-01-10", "words", 0) +
                                  of_film(1, "片甲", "u", "2016-01-10", "words", 7) +
                                  of_film(2, "片甲", "u", "2016-03-01", "words", 7) +
                                  of_film(3, "片乙", "u", "2016-02-10", "words", 1) +
                                  of_film(4, "片甲", "u", "2016-02-11", "other words", 1) +
                                  of_film(5, "片甲", "v", "2016-01-10", "words", 1));
  ASSERT_EQ(set.users.size(), 2u);
  ASSERT_EQ(set.users[0].reviews.size(), 3u);
  EXPECT_EQ(set.users[0].reviews[0].position, 0);
  EXPECT_EQ(set.users[0].reviews[1].film, "片乙");
  EXPECT_EQ(set.users[0].reviews[2].text, "other words");
  EXPECT_EQ(set.users[1].reviews.size(), 1u);
  EXPECT_EQ(set.dropped, (Tally{{"the same review of a film again", 2}}));
}

TEST(Dmsc, BadHeader) {
  EXPECT_TRUE(
      contains(dmsc_error("a,b,c\n1,2,3\n"), ":1:1: bad header 'a': expected ID,Movie_Name_EN"));
  const auto renamed = [](const std::string& name, const std::string& to) {
    std::string header = kHeader;
    header.replace(header.find(name), name.size(), to);
    return dmsc_error(header + row(0, "u", "2015-01-01", "1", "x"));
  };
  EXPECT_TRUE(contains(renamed("Username", "UserNames"),
                       ":1:1: bad header: no column Username (did you mean 'UserNames'?)"));
  EXPECT_TRUE(contains(renamed("Star", "Stars"), "no column Star (did you mean 'Stars'?)"))
      << "a column that may be absent is not passed over for a mistake in its name";
  EXPECT_TRUE(contains(renamed("Comment", "Text"), "no column Comment; expected ID,"));
  EXPECT_TRUE(contains(dmsc_error("Username,Date,Comment\nu,2015-01-01,x\n"),
                       "no column Movie_Name_CN; expected"));
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
  const std::string upper =
      folder.write("upper.csv", "USERID,MOVIEID,TIMESTAMP,COMMENT\n5,0,1318222486,later\n");
  EXPECT_EQ(read_reviews(upper).users[0].reviews[0].film, "港, 湾");
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
