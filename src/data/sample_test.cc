#include "data/sample.h"

#include <filesystem>

#include "data/prompt.h"
#include "data/review_testing.h"

namespace trireme::data {
namespace {

// With the tokenizer of the repository's sample.
class Samples : public testing::Test {
 protected:
  static std::string folder() {
    const std::filesystem::path here = __FILE__;
    return (here.parent_path().parent_path().parent_path() / "sample" / "tokenizer").string();
  }

  SampleSet tokenize(const ReviewSet& set, const std::vector<SampleRef>& refs,
                     int64_t threads = 0) const {
    return tokenize_samples(set, refs, run_, tokenizer_, chat_, threads);
  }

  TokenizedSample one(const ReviewSet& set, SampleRef ref) const {
    return tokenize(set, {ref}).samples.at(0);
  }

  static std::vector<int32_t> prompt_of(const TokenizedSample& sample) {
    return {sample.tokens.begin(), sample.tokens.begin() + sample.trained_from};
  }
  static std::vector<int32_t> answer_of(const TokenizedSample& sample) {
    return {sample.tokens.begin() + sample.trained_from, sample.tokens.end()};
  }

  Tokenizer tokenizer_{folder()};
  ChatTemplate chat_{folder(), tokenizer_};
  config::SampleOptions run_;
};

ReviewSet make_set(const std::vector<std::string>& texts) {
  ReviewSet set;
  set.users.push_back(make_user("海盐苏打", texts));
  return set;
}

ReviewSet twelve() {
  std::vector<std::string> texts;
  for (int i = 0; i < 12; ++i)
    texts.push_back("第" + std::to_string(i) + "条，摄影真的很好" + std::string(i * 5 % 7, '!'));
  return make_set(texts);
}

TEST_F(Samples, PromptAsTheTemplateRendersItThenTheAnswer) {
  const ReviewSet set = twelve();
  const TokenizedSample sample = one(set, {0, 11});
  const std::vector<Turn> messages = prompt_messages(set, {0, 11}, run_);
  EXPECT_EQ(prompt_of(sample), tokenizer_.encode(chat_.render(messages, true)));
  EXPECT_EQ(answer_of(sample), chat_.encode_answer(set.users[0].reviews[11].text));
  EXPECT_EQ(sample.tokens[sample.trained_from],
            tokenizer_.encode(set.users[0].reviews[11].text)[0]);
  EXPECT_EQ(sample.history_dropped, 0);
}

TEST_F(Samples, AnswerThatStartsWithALineBreakIsNotMergedWithThePrompt) {
  const ReviewSet set = make_set({"\n\n另起一行"});
  const TokenizedSample sample = one(set, {0, 0});
  EXPECT_EQ(prompt_of(sample), chat_.encode_prompt(prompt_messages(set, {0, 0}, run_)));
  EXPECT_TRUE(tokenizer_.decode(answer_of(sample)).starts_with("\n\n另起一行<|im_end|>"));
}

TEST_F(Samples, ControlTokensInReviewsStayText) {
  const ReviewSet set = make_set({"a<|im_end|>b", "<|im_start|>assistant\n<|im_end|>"});
  const std::vector<int32_t> tokens = one(set, {0, 1}).tokens;
  EXPECT_EQ(std::ranges::count(tokens, chat_.end_of_turn()), 2)
      << "the system message's and the answer's";
  EXPECT_EQ(std::ranges::count(tokens, *tokenizer_.token_id("<|im_start|>")), 2);
}

TEST_F(Samples, OldestHistoryGoesFirstAndNoMoreThanNeeded) {
  const ReviewSet set = twelve();
  const PromptWriter writer(set, run_);
  const auto size_with = [&](int64_t history) {
    return chat_.encode_prompt({{"system", writer.text({0, 11}, history, 0)}}).size() +
           chat_.encode_answer(set.users[0].reviews[11].text).size();
  };
  for (run_.max_length = static_cast<int64_t>(size_with(0));
       run_.max_length < static_cast<int64_t>(size_with(11)) + 3; ++run_.max_length) {
    const TokenizedSample sample = one(set, {0, 11});
    const int64_t shown = 11 - sample.history_dropped;
    ASSERT_LE(sample.tokens.size(), run_.max_length);
    ASSERT_EQ(sample.tokens.size(), size_with(shown));
    ASSERT_EQ(answer_of(sample), chat_.encode_answer(set.users[0].reviews[11].text)) << "never cut";
    const std::string text = tokenizer_.decode(sample.tokens);
    if (shown < 11) {
      ASSERT_GT(size_with(shown + 1), run_.max_length) << "one more would fit";
      ASSERT_EQ(text.find("《F" + std::to_string(10 - shown) + "》"), text.npos);
    }
    if (shown > 0) {
      ASSERT_NE(text.find("历史影评记录 (" + std::to_string(shown) + "条)"), text.npos);
    }
  }
}

TEST_F(Samples, WithoutHistoryTheOldestTurnsOfTheContextGo) {
  ReviewSet set = make_set({"好"});
  for (int i = 0; i < 10; ++i)
    set.users[0].reviews[0].context.push_back({"A", "第" + std::to_string(i) + "轮"});
  const size_t full = one(set, {0, 0}).tokens.size();
  run_.max_length = static_cast<int64_t>(full) - 10;
  const std::string text = tokenizer_.decode(one(set, {0, 0}).tokens);
  EXPECT_NE(text.find("（前面省略了 "), text.npos);
  EXPECT_EQ(text.find("第0轮"), text.npos);
  EXPECT_NE(text.find("第9轮"), text.npos);
}

TEST_F(Samples, WhatDoesNotFitIsCounted) {
  std::string long_text;
  for (int i = 0; i < 300; ++i) long_text += "很长";
  const ReviewSet set = make_set({"短", long_text, "短"});
  run_.max_length = 200;
  const SampleSet samples = tokenize(set, {{0, 0}, {0, 1}, {0, 2}});
  EXPECT_EQ(samples.samples.size(), 2);
  EXPECT_EQ(samples.dropped, (Tally{{"review alone longer than max_length", 1}}));
  EXPECT_EQ(samples.samples[1].history_dropped, 2) << "what is too long, and all before it";
}

TEST_F(Samples, NoneFits) {
  const ReviewSet set = make_set({"短", "短短"});
  run_.max_length = 16;
  const std::string error = user_error([&] { tokenize(set, {{0, 0}, {0, 1}}); });
  ASSERT_TRUE(error.starts_with("max_length 16: none of 2 samples fits; the shortest needs "))
      << error;
  run_.max_length = std::stoll(error.substr(error.rfind("--max_length ") + 13));
  EXPECT_GE(tokenize(set, {{0, 0}, {0, 1}}).samples.size(), 1) << "the remedy works";
  --run_.max_length;
  EXPECT_NE(user_error([&] { tokenize(set, {{0, 0}, {0, 1}}); }), "") << "and is the least";
}

TEST_F(Samples, ThreadsDoNotChangeTheResult) {
  ReviewSet set;
  std::vector<SampleRef> refs;
  for (int user = 0; user < 9; ++user) {
    set.users.push_back(make_user("u" + std::to_string(user), {"一", "二二", "三三三"}));
    for (int review = 0; review < 3; ++review) refs.push_back({user, review});
  }
  const SampleSet serial = tokenize(set, refs, /*threads=*/1);
  const SampleSet parallel = tokenize(set, refs, /*threads=*/3);
  ASSERT_EQ(parallel.samples.size(), refs.size());
  for (size_t i = 0; i < refs.size(); ++i) {
    EXPECT_EQ(parallel.samples[i].tokens, serial.samples[i].tokens);
    EXPECT_EQ(parallel.samples[i].ref.user, refs[i].user);
  }
}

}  // namespace
}  // namespace trireme::data
