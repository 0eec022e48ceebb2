#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>
#include <gtest/gtest.h>

#include <cmath>

#include "attention/block.h"
#include "attention/cached.h"
#include "ops/testing.h"

namespace trireme::attention {
namespace {

using ops::random_tensor;
using ops::relative_error;

constexpr double kTolerance = 3e-6;  // fp32 online softmax against double

struct Inputs {
  at::Tensor q, k, v;
};

Inputs make_inputs(int64_t tokens, int64_t heads, int64_t kv_heads, int64_t dim) {
  return {random_tensor({tokens, heads, dim}, 1), random_tensor({tokens, kv_heads, dim}, 2),
          random_tensor({tokens, kv_heads, dim}, 3)};
}

// softmax(q k^T) v in double, causal, heads repeated.
at::Tensor reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale) {
  const int64_t times = q.size(1) / k.size(1), tokens = q.size(0);
  const auto heads = [&](const at::Tensor& x) {
    return x.to(at::kDouble).repeat_interleave(times, 1).transpose(0, 1);
  };
  at::Tensor scores =
      at::matmul(q.to(at::kDouble).transpose(0, 1), heads(k).transpose(1, 2)) * scale;
  const at::Tensor hidden = at::ones({tokens, tokens}).triu(1).to(at::kBool);
  scores = scores.masked_fill(hidden, -INFINITY);
  return at::matmul(at::softmax(scores, 2), heads(v)).transpose(0, 1);
}

class Shapes : public testing::TestWithParam<std::tuple<int64_t, int64_t, int64_t, int64_t>> {};

TEST_P(Shapes, ForwardAndGradients) {
  const auto [tokens, heads, kv_heads, dim] = GetParam();
  const double scale = 1 / std::sqrt(static_cast<double>(dim));
  const auto [q, k, v] = make_inputs(tokens, heads, kv_heads, dim);
  const AttentionOutput out = block_forward(q, k, v, Mask::kCausal, scale);
  EXPECT_LT(relative_error(out.out, reference(q, k, v, scale)), kTolerance);
  EXPECT_EQ(out.lse.sizes(), at::IntArrayRef({heads, tokens}));

  const at::Tensor dout = random_tensor(q.sizes(), 4);
  const auto grads = block_backward(dout, q, k, v, out, Mask::kCausal, scale);
  const auto check = [&](const at::Tensor& x, const at::Tensor& grad, auto f) {
    const at::Tensor along = random_tensor(x.sizes(), 5);
    const double expected = ops::directional_derivative(f, x, dout, along);
    EXPECT_NEAR(ops::inner(grad, along), expected, 1e-3 * std::abs(expected) + 1e-3);
  };
  check(q, grads.dq, [&](const at::Tensor& x) { return reference(x, k, v, scale); });
  check(k, grads.dk, [&](const at::Tensor& x) { return reference(q, x, v, scale); });
  check(v, grads.dv, [&](const at::Tensor& x) { return reference(q, k, x, scale); });
}

INSTANTIATE_TEST_SUITE_P(Attention, Shapes,
                         testing::Values(std::tuple{1, 2, 1, 8}, std::tuple{127, 7, 1, 20},
                                         std::tuple{65, 8, 2, 64}, std::tuple{40, 4, 4, 128}));

TEST(LocalAttention, PackedDocumentsEqualSeparateRuns) {
  const auto [q, k, v] = make_inputs(50, 4, 2, 16);
  const at::Tensor dout = random_tensor(q.sizes(), 4);
  LocalAttention packed({0, 1, 20, 50}, at::kCPU, 0.25);
  const AttentionOutput out = packed.forward(q, k, v);
  const AttentionGradients grads = packed.backward(dout, q, k, v, out);
  for (const auto& [first, length] : {std::pair{0, 1}, {1, 19}, {20, 30}}) {
    const auto rows = [&](const at::Tensor& x) { return x.narrow(0, first, length); };
    LocalAttention alone({0, length}, at::kCPU, 0.25);
    const AttentionOutput one = alone.forward(rows(q), rows(k), rows(v));
    EXPECT_TRUE(one.out.equal(rows(out.out)));
    const AttentionGradients g = alone.backward(rows(dout), rows(q), rows(k), rows(v), one);
    EXPECT_TRUE(g.dq.equal(rows(grads.dq)));
    EXPECT_TRUE(g.dk.equal(rows(grads.dk)));
    EXPECT_TRUE(g.dv.equal(rows(grads.dv)));
  }
}

TEST(CachedAttention, TokenByTokenEqualsAllAtOnce) {
  const auto [q, k, v] = make_inputs(12, 4, 2, 16);
  const AttentionOutput whole = block_forward(q, k, v, Mask::kCausal, 0.25);
  CachedAttention cache(12, 0.25);
  cache.forward(q.narrow(0, 0, 5), k.narrow(0, 0, 5), v.narrow(0, 0, 5));
  for (int64_t t = 5; t < 12; ++t) {
    const auto row = [&](const at::Tensor& x) { return x.narrow(0, t, 1); };
    EXPECT_LT(relative_error(cache.forward(row(q), row(k), row(v)).out, row(whole.out)),
              kTolerance);
  }
}

TEST(Heads, OnCudaTheirSizeFillsSixteenBytes) {
  EXPECT_EQ(head_multiple(/*cuda=*/true, at::kBFloat16), 8);
  EXPECT_EQ(head_multiple(/*cuda=*/true, at::kFloat), 4);
  EXPECT_EQ(head_multiple(/*cuda=*/false, at::kFloat), 1);
}

}  // namespace
}  // namespace trireme::attention
