#include "plan/step_cost.h"

#include <gtest/gtest.h>

#include <set>

#include "plan/execution.h"

namespace trireme::plan {
namespace {

layout::Model small_model() {
  config::ModelSpec spec;
  spec.hidden = 8;
  spec.layers = 2;
  spec.heads = 4;
  spec.kv_heads = 2;
  spec.head_dim = 3;
  spec.intermediate = 5;
  spec.vocab = 11;
  return layout::Model(spec);
}

TEST(StepCost, CountsProductsAndCausalAttention) {
  const StepCost cost = model_cost(small_model(), Workload::of({10, 4}), 9);
  // 14 tokens: q 12, k 6, v 6, o 12 wide and gate, up, down of 5, all by 8; head of 11 by 8 on 9.
  const double forward = 2.0 * (2 * 14 * 8 * (12 + 6 + 6 + 12 + 3 * 5)) + 2.0 * 9 * 11 * 8;
  EXPECT_DOUBLE_EQ(cost.products, 3 * forward);  // and the gradients of inputs and weights
  // Two products over half of each document's square, in each of two layers, 12 columns wide.
  const double attention = 2.0 * 2 * 2 * (100 + 16) / 2 * 12;
  EXPECT_DOUBLE_EQ(cost.attention_forward, attention);
  EXPECT_DOUBLE_EQ(cost.attention_backward, 2.5 * attention);
  EXPECT_EQ(cost.grouped, 0);
}

TEST(StepCost, FrozenWeightsHaveNoGradientProducts) {
  layout::Model model = small_model();
  const double full = model_cost(model, Workload::of({10}), 10).products;
  model.adapters = layout::make_adapters(model.spec, {.rank = 1, .target_modules = {"q_proj"}});
  const double narrow = 2.0 * 10 * 2 * (8 + 12) * 3;  // of A and B, in both layers
  EXPECT_DOUBLE_EQ(model_cost(model, Workload::of({10}), 10).products, full * 2 / 3 + narrow);
}

TEST(StepCost, TheOptimizersTrafficFollowsItsFormats) {
  const layout::Model model = small_model();
  const auto count = static_cast<double>(model.layout.numel());
  EXPECT_DOUBLE_EQ(model_cost(model, Workload::of({10}), 10).bytes, 34 * count);
  EXPECT_DOUBLE_EQ(optimizer_bytes(model.layout, false, MomentFormat::kBFloat16), 20 * count);
}

TEST(StepCost, WhatIsNotKeptIsRepeated) {
  const layout::Model model = small_model();
  const std::vector<Keep> all(2, Keep::all());
  EXPECT_EQ(recompute_cost(model.spec, Workload::of({10}), NumberFormat::kBFloat16, all).products,
            0);
  EXPECT_EQ(recompute_cost(model.spec, Workload::of({10}), NumberFormat::kBFloat16, all)
                .attention_forward,
            0);
  std::vector<Keep> one = all;
  one[1].qkv = one[1].attention = false;
  const StepCost cost =
      recompute_cost(model.spec, Workload::of({10}), NumberFormat::kBFloat16, one);
  EXPECT_DOUBLE_EQ(cost.products, 2.0 * 10 * 8 * (12 + 6 + 6));
  EXPECT_DOUBLE_EQ(cost.attention_forward,
                   model_cost(model, Workload::of({10}), 10).attention_forward / 2);
}

TEST(Workload, TheDearestBatchHasAsManyOfTheLongestDocumentAsThereCanBe) {
  EXPECT_EQ(Workload::dearest(10, 4, 1).squares, Workload::of({4, 4, 2}).squares);
  const Workload half = Workload::dearest(10, 10, 2);
  EXPECT_EQ(half.tokens, 5);
  EXPECT_EQ(half.squares, 50);
}

TEST(Bucket, RoundsUpByAtMostASixteenthToFewLengths) {
  std::set<int64_t> buckets;
  for (int64_t tokens = 1; tokens < 1 << 16; ++tokens) {
    const int64_t padded = bucket(tokens);
    ASSERT_GE(padded, tokens);
    ASSERT_LE(padded - tokens, std::max<int64_t>(63, tokens / 16)) << tokens;
    ASSERT_EQ(bucket(padded), padded);
    buckets.insert(padded);
  }
  EXPECT_LE(buckets.size(), 16 * 7 + 1);  // 16 an octave from 1,024 on, and 16 below
}

}  // namespace
}  // namespace trireme::plan
