#include "data/prompt.h"

#include "data/review_testing.h"

namespace trireme::data {
namespace {

ReviewSet example() {
  ReviewSet set;
  set.users.push_back(make_user("然潘", {"第一条", "第二\n\n条", "target"}));
  set.users[0].profile = {{"age", "30"}, {"city", "x"}};
  set.users[0].reviews[0].stars = 4;
  set.users[0].reviews[2].context = {{"A", "一"}, {"", "二"}, {"A", "三"}};
  return set;
}

std::string prompt(const ReviewSet& set, config::SampleOptions run, SampleRef ref = {0, 2}) {
  const std::vector<Turn> messages = prompt_messages(set, ref, run);
  EXPECT_EQ(messages.size(), 1);
  EXPECT_EQ(messages[0].role, "system");
  return messages[0].content;
}

config::SampleOptions ablation(bool profile, bool history, bool context) {
  config::SampleOptions run;
  run.ablation = {"", profile, history, context};
  return run;
}

const std::string kProfile = "用户: 然潘\n年龄: 30\ncity: x\n\n";
const std::string kHistory = "历史影评记录 (2条):\n  电影《F0》: 第一条\n  电影《F1》: 第二 条\n\n";
const std::string kContext = "对话记录:\n  A: 一\n  二\n  A: 三\n\n";
const std::string kRequest = "模仿用户风格为电影《F2》写一条影评：";

TEST(Prompt, SimpleStyleOfEveryAblation) {
  const ReviewSet set = example();
  for (int bits = 0; bits < 8; ++bits) {
    const bool profile = bits & 1, history = bits & 2, context = bits & 4;
    const std::string expected = (profile ? kProfile : "") + (history ? kHistory : "") +
                                 (context ? kContext : "") + kRequest;
    EXPECT_EQ(prompt(set, ablation(profile, history, context)), expected);
  }
}

TEST(Prompt, FirstReviewHasNoHistorySection) {
  EXPECT_EQ(prompt(example(), ablation(true, true, true), {0, 0}),
            kProfile + "模仿用户风格为电影《F0》写一条影评：");
}

TEST(Prompt, DetailedStyle) {
  ReviewSet set = example();
  set.has_stars = true;
  config::SampleOptions run = ablation(true, true, false);
  run.prompt_style = config::PromptStyle::kDetailed;
  EXPECT_EQ(prompt(set, run),
            "【用户】\n用户: 然潘\n年龄: 30\ncity: x\n\n"
            "【历史影评】\n历史影评记录 (2条):\n  2015-01-01 电影《F0》(4星): 第一条\n  2015-01-02 "
            "电影《F1》: 第二 条\n\n"
            "【当前影片】\n电影《F2》\n时间: 2015-01-03\n\n" +
                kRequest);
}

TEST(Prompt, RatingsAreShownByOptionAndData) {
  ReviewSet set = example();
  config::SampleOptions run = ablation(false, true, false);
  const auto shown = [&] { return prompt(set, run).find("(4星)") != std::string::npos; };
  EXPECT_FALSE(shown()) << "auto, data without stars";
  run.show_ratings = config::ShowRatings::kOn;
  EXPECT_TRUE(shown());
  set.has_stars = true;
  run.show_ratings = config::ShowRatings::kAuto;
  EXPECT_TRUE(shown());
  run.show_ratings = config::ShowRatings::kOff;
  EXPECT_FALSE(shown());
}

TEST(Prompt, ContextKeepsTheLastTurnsAndSaysWhatItLeftOut) {
  config::SampleOptions run = ablation(false, false, true);
  run.max_context_turns = 2;
  EXPECT_EQ(prompt(example(), run),
            "对话记录:\n（前面省略了 1 轮对话，以下是最近的 2 轮）\n  二\n  A: 三\n\n" + kRequest);
  run.max_context_turns = 3;
  EXPECT_EQ(prompt(example(), run), kContext + kRequest);
}

}  // namespace
}  // namespace trireme::data
