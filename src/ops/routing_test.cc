#include "ops/routing.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "ops/testing.h"

namespace trireme::ops {
namespace {

TEST(Routing, SortsPairsByExpertAndKeepsTheirOrder) {
  const int64_t tokens = 37, experts = 5, k = 3;
  at::Tensor logits = random_tensor({tokens, experts}, 1);
  logits.select(1, 3).fill_(-50);  // an expert without tokens
  const Routing r = route(logits, k, true);
  const at::Tensor p = at::softmax(logits.to(at::kDouble), 1);
  int64_t row = 0;
  for (int64_t e = 0; e < experts; ++e) {
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t j = 0; j < k; ++j) {
        if (r.experts[t][j].item<int64_t>() != e) continue;
        EXPECT_EQ(r.rows[t][j].item<int64_t>(), row);
        EXPECT_EQ(r.tokens[row].item<int64_t>(), t);
        ++row;
      }
    }
    EXPECT_EQ(r.ends[e].item<int64_t>(), row);
  }
  EXPECT_EQ(r.ends[3].item<int64_t>(), r.ends[2].item<int64_t>());
  const auto [best, chosen] = p.topk(k, 1);
  EXPECT_TRUE(r.experts.to(at::kLong).equal(chosen));
  EXPECT_LT(relative_error(r.weights, best / best.sum(1, true)), 1e-6);
  EXPECT_LT(relative_error(route(logits, k, false).weights, best), 1e-6);
  EXPECT_TRUE(row_weights(r).index_select(0, r.rows.flatten()).equal(r.weights.flatten()));
}

TEST(Routing, OfEqualLogitsTheLowerExpertComesFirst) {
  const Routing r =
      route(at::tensor({1.0, 2.0, 2.0, 1.0, 2.0, 1.0}, at::kFloat).view({1, 6}), 4, false);
  EXPECT_TRUE(r.experts.equal(at::tensor({1, 2, 4, 0}, at::kInt).view({1, 4})));
}

TEST(Routing, CombineIsTheWeightedSumOfGatheredRows) {
  const int64_t tokens = 19, k = 3;
  const Routing r = route(random_tensor({tokens, 5}, 1), k, true);
  const at::Tensor wide = random_tensor({tokens, 40}, 2), x = wide.narrow(1, 2, 33);
  const at::Tensor rows = gather_rows(x, r.tokens);
  EXPECT_TRUE(rows.equal(x.index_select(0, r.tokens)));
  // Weights sum to one: the combination of a token's own rows is the token.
  at::Tensor y = at::empty({tokens, 33}, x.options());
  combine_rows(rows, r, r.weights, {}, y);
  EXPECT_LT(relative_error(y, x), 1e-6);
  combine_rows(rows, r, {}, x, y);
  EXPECT_LT(relative_error(y, x * (k + 1)), 1e-6);
  const at::Tensor out = random_tensor({tokens * k, 33}, 3), base = random_tensor({tokens, 33}, 4);
  const at::Tensor pairs = out.index_select(0, r.rows.flatten()).view({tokens, k, 33});
  combine_rows(out, r, r.weights, base, y);
  EXPECT_LT(relative_error(y, base + (pairs * r.weights.unsqueeze(2)).sum(1)), 1e-6);
}

TEST(Routing, BackwardIsTheDerivative) {
  const int64_t tokens = 21, experts = 6, k = 2;
  const at::Tensor logits = random_tensor({tokens, experts}, 1), dw = random_tensor({tokens, k}, 2);
  const at::Tensor along = random_tensor({tokens, experts}, 3);
  for (const bool normalise : {false, true}) {
    const Routing r = route(logits, k, normalise);
    at::Tensor rows = at::zeros({tokens * k});
    rows.index_copy_(0, r.rows.flatten().to(at::kLong), dw.flatten());
    const double expected = directional_derivative(
        [&](const at::Tensor& x) {
          const at::Tensor p = at::softmax(x, 1).gather(1, r.experts.to(at::kLong));
          return normalise ? p / p.sum(1, true) : p;
        },
        logits, dw, along);
    EXPECT_NEAR(inner(router_backward(logits, r, rows, normalise), along), expected,
                2e-4 * std::abs(expected) + 1e-4);
  }
}

TEST(Routing, BackwardAtEveryProbabilityOfTheFirstTokens) {
  const int64_t tokens = 9, experts = 6, k = 2, counted = 7;
  const at::Tensor logits = random_tensor({tokens, experts}, 1);
  const at::Tensor every = random_tensor({experts}, 2), along = random_tensor({tokens, experts}, 3);
  const Routing r = route(logits, k, true);
  const at::Tensor zeros = at::zeros({tokens * k});
  const at::Tensor d = router_backward(logits, r, zeros, true, {every, counted});
  const at::Tensor first = logits.narrow(0, 0, counted);
  const double expected =
      directional_derivative([](const at::Tensor& x) { return at::softmax(x, 1); }, first,
                             every.expand_as(first), along.narrow(0, 0, counted));
  EXPECT_NEAR(inner(d, along), expected, 2e-4 * std::abs(expected) + 1e-4);
  EXPECT_EQ(d.narrow(0, counted, tokens - counted).abs().sum().item<double>(), 0);
  // Beside the gradient at the weights: their sum.
  const at::Tensor dw = random_tensor({tokens * k}, 4);
  EXPECT_LT(relative_error(router_backward(logits, r, dw, true, {every, counted}),
                           d + router_backward(logits, r, dw, true)),
            1e-6);
}

TEST(Routing, LoadOfTheFirstTokens) {
  const int64_t experts = 5, k = 2, counted = 7;
  const at::Tensor logits = random_tensor({9, experts}, 1);
  const Routing r = route(logits, k, true);
  at::Tensor choices = at::zeros({experts}, at::kDouble), probabilities = choices + 1;
  add_router_load(logits, r, counted, choices, probabilities);
  add_router_load(logits, r, 0, choices, probabilities);
  const at::Tensor first = r.experts.narrow(0, 0, counted);
  for (int64_t e = 0; e < experts; ++e) {
    EXPECT_EQ(choices[e].item<double>(), first.eq(e).sum().item<double>());
  }
  EXPECT_LT(relative_error(probabilities, at::softmax(logits.narrow(0, 0, counted), 1).sum(0) + 1),
            1e-6);
}

}  // namespace
}  // namespace trireme::ops
