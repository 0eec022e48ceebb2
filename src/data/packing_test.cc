#include "data/packing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/rng.h"

namespace trireme::data {
namespace {

using Numbers = std::vector<int64_t>;
using Bins = std::vector<Numbers>;

Numbers random_lengths(size_t count, int64_t most) {
  Rng rng(5);
  Numbers lengths(count);
  for (int64_t& length : lengths) length = 1 + static_cast<int64_t>(rng.below(most));
  return lengths;
}

Numbers flattened(const Bins& bins) {
  Numbers all;
  for (const Numbers& bin : bins) all.insert(all.end(), bin.begin(), bin.end());
  return all;
}

TEST(Packing, DocumentsSideBySide) {
  PackedBatch batch;
  append_document(batch, Numbers{1, 2, 3}, Numbers{-100, 2, 3});
  append_document(batch, Numbers{4, 5}, Numbers{4, -100});
  append_document(batch, Numbers{6}, Numbers{6});
  EXPECT_EQ(batch.tokens, (Numbers{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(batch.targets, (Numbers{2, 3, -100, -100, -100, -100}))
      << "shifted; the first token is nobody's target";
  EXPECT_EQ(batch.document_starts, (Numbers{0, 3, 5, 6}));
  EXPECT_EQ(batch.trained_tokens, 2);
  EXPECT_EQ(batch.samples, 3);
}

TEST(Packing, BatchTrainsOnTheAnswerOnly) {
  std::vector<TokenizedSample> samples(3);
  samples[0].tokens = {1, 2, 3, 4};
  samples[0].trained_from = 2;
  samples[1].tokens = {5, 6};
  samples[1].trained_from = 1;
  samples[2].tokens = {7, 8, 9};
  samples[2].trained_from = 2;
  const PackedBatch batch = make_batch(samples, Bins{{2, 0}, {1}});
  EXPECT_EQ(batch.tokens, (Numbers{7, 8, 9, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(batch.targets, (Numbers{-100, 9, -100, -100, 3, 4, -100, 6, -100}));
  EXPECT_EQ(batch.document_starts, (Numbers{0, 3, 7, 9}));
  EXPECT_EQ(batch.trained_tokens, 4);
  EXPECT_EQ(batch.samples, 3);
}

TEST(Packing, EverySampleOnceAndNoBinTooFull) {
  const Numbers lengths = random_lengths(10000, 700);
  for (bool shuffle : {false, true}) {
    const Bins bins = plan_epoch(lengths, 1000, true, shuffle, 1, 0);
    Numbers all = flattened(bins);
    for (const Numbers& bin : bins) {
      int64_t sum = 0;
      for (int64_t sample : bin) sum += lengths[sample];
      EXPECT_LE(sum, 1000);
    }
    std::ranges::sort(all);
    Numbers expected(lengths.size());
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(all, expected);
    const int64_t total = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
    EXPECT_LT(static_cast<double>(bins.size()), 1.03 * static_cast<double>(total) / 1000)
        << "nearly full";
  }
}

TEST(Packing, FirstFitDecreasingOfAnExample) {
  const Bins bins = plan_epoch(Numbers{4, 8, 1, 4, 2, 1}, 10, true, false, 0, 0);
  EXPECT_EQ(bins, (Bins{{1, 4}, {0, 3, 2, 5}}));
}

TEST(Packing, OffIsOneSampleEach) {
  EXPECT_EQ(plan_epoch(Numbers{3, 1, 2}, 10, false, false, 0, 0), (Bins{{0}, {1}, {2}}));
}

TEST(Packing, OrderIsAFunctionOfSeedAndEpoch) {
  const Numbers lengths = random_lengths(500, 100);
  for (bool packing : {false, true}) {
    const auto plan = [&](uint64_t seed, int64_t epoch) {
      return plan_epoch(lengths, 100, packing, true, seed, epoch);
    };
    EXPECT_EQ(plan(1, 2), plan(1, 2));
    EXPECT_NE(plan(1, 2), plan(1, 3));
    EXPECT_NE(plan(1, 2), plan(2, 2));
    EXPECT_NE(plan(1, 2), plan(2, 1));
  }
}

TEST(Packing, OrderOfBinsDoesNotFollowLength) {
  const Numbers lengths = random_lengths(4000, 1000);
  const Bins bins = plan_epoch(lengths, 1000, true, true, 1, 0);
  const auto mean_longest = [&](size_t begin, size_t end) {
    double sum = 0;
    for (size_t i = begin; i < end; ++i) {
      int64_t longest = 0;
      for (int64_t sample : bins[i]) longest = std::max(longest, lengths[sample]);
      sum += static_cast<double>(longest);
    }
    return sum / static_cast<double>(end - begin);
  };
  EXPECT_NEAR(mean_longest(0, bins.size() / 2), mean_longest(bins.size() / 2, bins.size()), 40);
}

TEST(Packing, NothingToPack) { EXPECT_TRUE(plan_epoch(Numbers{}, 10, true, true, 0, 0).empty()); }

}  // namespace
}  // namespace trireme::data
