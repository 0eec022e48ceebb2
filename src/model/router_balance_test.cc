// The sums of two tiles with padding behind them, and the loss and its gradient that follow. What
// they do to a model is compared with transformers in tests/python.
#include "model/router_balance.h"

#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "ops/testing.h"

namespace trireme::model {
namespace {

TEST(RouterBalance, CountsTheTokensOfAllLayersAndNoPadding) {
  constexpr int64_t kExperts = 5, kTokens = 10, kTile = 8;
  config::ModelSpec spec;
  spec.layers = 3;
  spec.sparse_layers = {true, false, true};
  spec.moe =
      config::MoeSpec{.experts = kExperts, .experts_per_token = 2, .balance_coefficient = 0.5};
  RouterBalance balance(spec, kTokens, kTokens, at::kCPU);
  at::Tensor choices = at::zeros({kExperts}, at::kDouble), probabilities = choices.clone();
  for (const int64_t layer : {0, 2}) {
    const at::Tensor logits = ops::random_tensor({2 * kTile, kExperts}, layer);
    for (const int64_t first : {int64_t{0}, kTile}) {
      const at::Tensor tile = logits.narrow(0, first, kTile);
      balance.add(layer, first, tile, ops::route(tile, 2, true));
    }
    const at::Tensor p = at::softmax(logits.narrow(0, 0, kTokens).to(at::kDouble), 1);
    const at::Tensor chosen = std::get<1>(p.topk(2, 1));
    probabilities += p.sum({0});
    for (int64_t e = 0; e < kExperts; ++e) choices[e] += chosen.eq(e).sum();
  }
  const RouterLoad load = balance.finish();
  constexpr double kRows = 2 * kTokens;
  const at::Tensor slope = choices * (kExperts / (kRows * kRows));
  EXPECT_NEAR(load.loss.item<double>(), (slope * probabilities).sum().item<double>(), 1e-6);
  EXPECT_TRUE(load.choices.sum({0}).equal(choices));
  EXPECT_EQ(load.choices.select(0, 1).abs().sum().item<double>(), 0);
  EXPECT_LT(ops::relative_error(balance.gradient(0, kTile).grad, slope * 0.5), 1e-6);
  EXPECT_EQ(balance.gradient(0, kTile).tokens, kTile);
  EXPECT_EQ(balance.gradient(kTile, kTile).tokens, kTokens - kTile);
  EXPECT_EQ(balance.gradient(2 * kTile, kTile).tokens, 0);
}

}  // namespace
}  // namespace trireme::model
