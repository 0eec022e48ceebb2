#include "engine/sampler.h"

#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace trireme::engine {
namespace {

const at::Tensor& logits() {
  static const at::Tensor values = at::tensor({0.0f, 2.0f, 1.0f, -1.0f, 2.0f}, at::kFloat);
  return values;
}

std::map<int64_t, double> frequencies(const SamplingOptions& options,
                                      const std::vector<int64_t>& seen = {}) {
  Rng rng(5);
  std::map<int64_t, double> shares;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i)
    shares[sample_token(logits(), seen, options, rng)] += 1.0 / kDraws;
  return shares;
}

TEST(Sampler, GreedyTakesTheFirstOfTheLikeliest) {
  Rng rng(1);
  EXPECT_EQ(sample_token(logits(), {}, {.temperature = 0}, rng), 1);
}

TEST(Sampler, DrawsFollowTheSoftmax) {
  const auto shares = frequencies({.temperature = 0.5});
  double total = 0;
  for (int64_t i = 0; i < 5; ++i) total += std::exp(logits()[i].item<double>() / 0.5);
  for (int64_t i = 0; i < 5; ++i) {
    const double expected = std::exp(logits()[i].item<double>() / 0.5) / total;
    const double share = shares.contains(i) ? shares.at(i) : 0;
    EXPECT_NEAR(share, expected, 0.012) << i;  // 3.5 standard deviations of 20,000 draws at 1/2
  }
}

TEST(Sampler, TopKAndTopPCut) {
  EXPECT_EQ(frequencies({.temperature = 1, .top_k = 2}).size(), 2u);
  EXPECT_EQ(frequencies({.temperature = 1, .top_p = 0.5}).size(),
            2u);  // 0.396 + 0.396 passes a half
  EXPECT_EQ(frequencies({.temperature = 1, .top_p = 0.3}).size(), 1u);
}

TEST(Sampler, RepetitionPenaltyPushesSeenTokensDownOnBothSidesOfZero) {
  Rng rng(1);
  EXPECT_EQ(sample_token(logits(), {1}, {.temperature = 0, .repetition_penalty = 1.5}, rng), 4);
  const auto plain = frequencies({.temperature = 1}),
             penal = frequencies({.temperature = 1, .repetition_penalty = 4}, {3});
  EXPECT_LT(penal.contains(3) ? penal.at(3) : 0, plain.at(3));
}

}  // namespace
}  // namespace trireme::engine
