#include "ops/heads.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "ops/rope.h"
#include "ops/testing.h"

namespace trireme::ops {
namespace {

constexpr double kTolerance = 2e-6;
constexpr double kGradient = 2e-4;

struct Case {
  int64_t tokens, heads, kv_heads, dim;
  bool normed;
  int64_t columns() const { return (heads + 2 * kv_heads) * dim; }
};

constexpr double kEps = 1e-6;

struct Inputs {
  at::Tensor qkv, cos, sin, q_norm, k_norm;

  explicit Inputs(const Case& c) : qkv(random_tensor({c.tokens, c.columns()}, 1)) {
    const at::Tensor angles = random_tensor({c.tokens, c.dim / 2}, 2) * 3;
    cos = angles.cos();
    sin = angles.sin();
    if (!c.normed) return;
    q_norm = random_tensor({c.dim}, 3);
    k_norm = random_tensor({c.dim}, 4);
  }
  HeadNorms norms() const { return {q_norm, k_norm, kEps}; }
};

at::Tensor reference_heads(const at::Tensor& x, const at::Tensor& w, const Inputs& in) {
  at::Tensor y = x;
  if (w.defined()) y = x * (x.square().mean(2, true) + kEps).rsqrt() * w.to(at::kDouble);
  const at::Tensor c = in.cos.to(at::kDouble).unsqueeze(1), s = in.sin.to(at::kDouble).unsqueeze(1);
  const int64_t half = x.size(2) / 2;
  const at::Tensor a = y.narrow(2, 0, half), b = y.narrow(2, half, half);
  return at::cat({a * c - b * s, b * c + a * s}, 2);
}

// All columns of what attention sees [S,(H+2K)D], in double.
at::Tensor reference(const Case& c, const Inputs& in, const at::Tensor& qkv,
                     const at::Tensor& q_norm, const at::Tensor& k_norm) {
  const at::Tensor x = qkv.to(at::kDouble).unflatten(1, {c.heads + 2 * c.kv_heads, c.dim});
  return at::cat({reference_heads(x.narrow(1, 0, c.heads), q_norm, in),
                  reference_heads(x.narrow(1, c.heads, c.kv_heads), k_norm, in),
                  x.narrow(1, c.heads + c.kv_heads, c.kv_heads)},
                 1)
      .flatten(1);
}

class Heads : public testing::TestWithParam<Case> {};

TEST_P(Heads, ForwardLeavesTheProjectionAlone) {
  const Case c = GetParam();
  const Inputs in(c);
  const at::Tensor before = in.qkv.clone();
  const RotatedHeads out = rotate_heads(in.qkv, c.heads, c.kv_heads, in.norms(), in.cos, in.sin);
  EXPECT_TRUE(in.qkv.equal(before));
  const at::Tensor expected = reference(c, in, in.qkv, in.q_norm, in.k_norm);
  const int64_t q = c.heads * c.dim, k = c.kv_heads * c.dim;
  EXPECT_LT(relative_error(out.q.flatten(1), expected.narrow(1, 0, q)), kTolerance);
  EXPECT_LT(relative_error(out.k.flatten(1), expected.narrow(1, q, k)), kTolerance);
}

TEST_P(Heads, BackwardIsTheDerivative) {
  const Case c = GetParam();
  const Inputs in(c);
  // As attention returns them: heads outermost.
  const auto grad = [&](int64_t heads, uint64_t seed) {
    return random_tensor({heads, c.tokens, c.dim}, seed).transpose(0, 1);
  };
  const at::Tensor dq = grad(c.heads, 5), dk = grad(c.kv_heads, 6), dv = grad(c.kv_heads, 7);
  at::Tensor dqkv = random_tensor({c.tokens, c.columns()}, 8), dq_norm, dk_norm;
  if (c.normed) dq_norm = at::zeros({c.dim}), dk_norm = at::zeros({c.dim});
  rotate_heads_backward(dq, dk, dv, in.qkv, in.norms(), in.cos, in.sin, dqkv, dq_norm, dk_norm);

  const at::Tensor dy = at::cat({dq, dk, dv}, 1).flatten(1);
  const at::Tensor along = random_tensor({c.tokens, c.columns()}, 9);
  const auto near = [](double value, double expected) {
    EXPECT_NEAR(value, expected, kGradient * std::abs(expected) + 1e-3);
  };
  near(inner(dqkv, along),
       directional_derivative(
           [&](const at::Tensor& x) { return reference(c, in, x, in.q_norm, in.k_norm); }, in.qkv,
           dy, along));
  if (!c.normed) return;
  const at::Tensor along_w = random_tensor({c.dim}, 10);
  near(inner(dq_norm, along_w),
       directional_derivative(
           [&](const at::Tensor& w) { return reference(c, in, in.qkv, w, in.k_norm); }, in.q_norm,
           dy, along_w));
  near(inner(dk_norm, along_w),
       directional_derivative(
           [&](const at::Tensor& w) { return reference(c, in, in.qkv, in.q_norm, w); }, in.k_norm,
           dy, along_w));
  at::Tensor frozen, again = at::zeros(dqkv.sizes());
  rotate_heads_backward(dq, dk, dv, in.qkv, in.norms(), in.cos, in.sin, again, frozen, frozen);
  EXPECT_TRUE(again.equal(dqkv));
}

INSTANTIATE_TEST_SUITE_P(Shapes, Heads,
                         testing::Values(Case{1, 4, 2, 12, false}, Case{37, 7, 1, 22, false},
                                         Case{37, 7, 1, 22, true}, Case{65, 4, 4, 64, true}));

TEST(Rope, PositionZeroStaysAndNormsStay) {
  const auto [cos, sin] = rope_table(at::tensor({0, 1, 2, 77, 1000}, at::kLong),
                                     at::tensor({1.0, 0.5, 0.1, 0.01, 0.001}, at::kFloat));
  const at::Tensor qkv = random_tensor({5, 30}, 1);
  const at::Tensor x = qkv.narrow(1, 0, 10), y = rotate_heads(qkv, 1, 1, {}, cos, sin).q.flatten(1);
  EXPECT_TRUE(y.select(0, 0).equal(x.select(0, 0)));
  EXPECT_GT(relative_error(y.select(0, 3), x.select(0, 3)), 0.1);
  EXPECT_NEAR(y.norm().item<double>(), x.norm().item<double>(), 1e-4);
}

}  // namespace
}  // namespace trireme::ops
