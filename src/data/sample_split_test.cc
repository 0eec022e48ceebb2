#include <cmath>
#include <set>

#include "data/review_testing.h"
#include "data/sample.h"

namespace trireme::data {
namespace {

ReviewSet make_set(const std::vector<int>& reviews_per_user) {
  ReviewSet set;
  for (size_t i = 0; i < reviews_per_user.size(); ++i) {
    set.users.push_back(
        make_user("u" + std::to_string(i), std::vector<std::string>(reviews_per_user[i], "text")));
  }
  return set;
}

// 300 users with 1 to 12 reviews.
ReviewSet many() {
  std::vector<int> counts;
  for (int i = 0; i < 300; ++i) counts.push_back(1 + i * 7 % 12);
  return make_set(counts);
}

using Keys = std::set<std::pair<int64_t, int64_t>>;

Keys keys(const std::vector<SampleRef>& refs) {
  Keys set;
  for (SampleRef ref : refs) set.emplace(ref.user, ref.review);
  EXPECT_EQ(set.size(), refs.size()) << "a sample twice";
  return set;
}

TEST(Split, EverySampleOnceByEitherSplit) {
  const ReviewSet set = many();
  for (const auto split : {config::SplitBy::kTime, config::SplitBy::kUser}) {
    config::SampleOptions run;
    run.split = split;
    const Split both = split_samples(set, run);
    Keys all = keys(both.train);
    const Keys validation = keys(both.validation);
    const size_t total = all.size() + validation.size();
    all.insert(validation.begin(), validation.end());
    EXPECT_EQ(all.size(), total) << "train and validation share a sample";
    EXPECT_EQ(total, 1950);
    EXPECT_NEAR(static_cast<double>(validation.size()), 195,
                split == config::SplitBy::kTime ? 0.5 : 6);
  }
}

TEST(Split, ByTimeValidatesTheLastOfEachUser) {
  config::SampleOptions run;
  run.val_ratio = 0.3;
  const Split split = split_samples(many(), run);
  std::vector<int64_t> last_train(300, -1), first_validation(300, 1000);
  for (SampleRef ref : split.train)
    last_train[ref.user] = std::max(last_train[ref.user], ref.review);
  for (SampleRef ref : split.validation)
    first_validation[ref.user] = std::min(first_validation[ref.user], ref.review);
  std::vector<int64_t> validating(300, 0);
  for (SampleRef ref : split.validation) ++validating[ref.user];
  for (int user = 0; user < 300; ++user) {
    EXPECT_LT(last_train[user], first_validation[user]);
    const double share = 0.3 * (1 + user * 7 % 12);
    EXPECT_LE(std::abs(static_cast<double>(validating[user]) - share), 1.001)
        << "a user's own share";
  }
}

TEST(Split, ByUserKeepsUsersWhole) {
  config::SampleOptions run;
  run.split = config::SplitBy::kUser;
  const Split split = split_samples(many(), run);
  std::set<int64_t> train, validation;
  for (SampleRef ref : split.train) train.insert(ref.user);
  for (SampleRef ref : split.validation) validation.insert(ref.user);
  for (int64_t user : validation) EXPECT_FALSE(train.contains(user));
  EXPECT_GT(validation.size(), 5);
}

TEST(Split, SmallSetsStillValidate) {
  config::SampleOptions run;
  EXPECT_EQ(split_samples(make_set({3}), run).validation.size(), 1);
  EXPECT_EQ(split_samples(make_set({1}), run).validation.size(), 0);
  EXPECT_EQ(split_samples(make_set({28}), run).validation.size(), 3);
  run.split = config::SplitBy::kUser;
  EXPECT_EQ(split_samples(make_set({9, 5, 8}), run).validation.size(), 5) << "the smallest user";
  EXPECT_EQ(split_samples(make_set({9}), run).validation.size(), 0);
  run.val_ratio = 0;
  EXPECT_EQ(split_samples(many(), run).validation.size(), 0);
}

TEST(Split, LastOrRandomSamplesOfAUser) {
  config::SampleOptions run;
  run.val_ratio = 0;
  run.max_samples_per_user = 5;
  EXPECT_EQ(keys(split_samples(make_set({8, 2}), run).train),
            (Keys{{0, 3}, {0, 4}, {0, 5}, {0, 6}, {0, 7}, {1, 0}, {1, 1}}));
  run.one_sample_per_user = true;
  EXPECT_EQ(keys(split_samples(make_set({8, 2}), run).train), (Keys{{0, 7}, {1, 1}}));
  run.one_sample_per_user = false;
  run.sample_strategy = config::SampleStrategy::kRandom;
  const std::vector<SampleRef> drawn = split_samples(make_set({100, 2}), run).train;
  const Keys first = keys(drawn);
  EXPECT_EQ(first.size(), 7);
  EXPECT_LT(first.begin()->second, 95) << "not the last five";
  for (size_t i = 1; i < 5; ++i) EXPECT_LT(drawn[i - 1].review, drawn[i].review);
  EXPECT_EQ(keys(split_samples(make_set({100, 2}), run).train), first) << "seeded";
  run.sample_seed = 43;
  EXPECT_NE(keys(split_samples(make_set({100, 2}), run).train), first);
}

TEST(Split, SeedMovesWhichUsersValidate) {
  config::SampleOptions run;
  const Keys first = keys(split_samples(many(), run).validation);
  EXPECT_EQ(keys(split_samples(many(), run).validation), first);
  run.sample_seed = 43;
  EXPECT_NE(keys(split_samples(many(), run).validation), first);
}

}  // namespace
}  // namespace trireme::data
