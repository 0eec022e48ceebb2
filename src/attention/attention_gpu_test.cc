// Attention's CUDA kernels against softmax(q k^T) v in fp32, on sampled queries and sampled keys:
// what they cost does not grow with the square of the length, so that lengths whose offsets pass
// 2^31 elements are tested too.
#include <ATen/ops/arange.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/softmax.h>
#include <gtest/gtest.h>

#include <cmath>

#include "attention/block.h"
#include "attention/flash3.h"
#include "ops/testing.h"
#include "ops/to_device.h"

namespace trireme::attention {
namespace {

using ops::relative_error;

constexpr double kTolerance = 1e-2;  // bf16 inputs, probabilities and results; gradients cancel

struct Case {
  int64_t documents, length, heads, kv_heads, dim;
};

struct Inputs {
  at::Tensor q, k, v, dout;
};

at::Tensor random(int64_t tokens, int64_t heads, int64_t dim) {
  at::Tensor x =
      at::empty({tokens, heads, dim}, at::TensorOptions(at::kBFloat16).device(at::kCUDA));
  return x.normal_();
}

Inputs make_inputs(const Case& c) {
  const int64_t tokens = c.documents * c.length;
  return {random(tokens, c.heads, c.dim), random(tokens, c.kv_heads, c.dim),
          random(tokens, c.kv_heads, c.dim), random(tokens, c.heads, c.dim)};
}

// [rows,N,D] -> fp32 [heads,rows,D], heads repeated.
at::Tensor by_head(const at::Tensor& x, int64_t heads) {
  return x.transpose(0, 1).to(at::kFloat).repeat_interleave(heads / x.size(1), 0);
}

// The last document's part of x.
at::Tensor last(const Case& c, const at::Tensor& x) {
  return x.narrow(0, (c.documents - 1) * c.length, c.length);
}

struct Reference {
  at::Tensor out, dq;  // [H,rows,D], of the sampled queries
  at::Tensor dk, dv;   // [K,rows,D], of the sampled keys
};

// out and dq of `rows` of the last document: each looks at the keys up to itself.
void queries(const Case& c, const Inputs& in, const at::Tensor& rows, double scale, Reference& to) {
  const at::Tensor k = by_head(last(c, in.k), c.heads), v = by_head(last(c, in.v), c.heads);
  const at::Tensor q = by_head(last(c, in.q).index_select(0, rows), c.heads);
  const at::Tensor dout = by_head(last(c, in.dout).index_select(0, rows), c.heads);
  const at::Tensor hidden = at::arange(c.length, rows.options()).unsqueeze(0) > rows.unsqueeze(1);
  const at::Tensor p =
      at::softmax((at::bmm(q, k.transpose(1, 2)) * scale).masked_fill(hidden, -INFINITY), 2);
  to.out = at::bmm(p, v);
  const at::Tensor dp = at::bmm(dout, v.transpose(1, 2));
  to.dq = at::bmm(p * (dp - (dout * to.out).sum(2, true)), k) * scale;
}

// dk and dv of `rows` of the last document, from all queries behind them; log-sum-exp and output
// are the kernel's.
void keys(const Case& c, const Inputs& in, const AttentionOutput& forward, const at::Tensor& rows,
          double scale, Reference& to) {
  const at::Tensor q = by_head(last(c, in.q), c.heads), dout = by_head(last(c, in.dout), c.heads);
  const at::Tensor k = by_head(last(c, in.k).index_select(0, rows), c.heads);
  const at::Tensor v = by_head(last(c, in.v).index_select(0, rows), c.heads);
  const at::Tensor lse = forward.lse.narrow(1, (c.documents - 1) * c.length, c.length).unsqueeze(1);
  const at::Tensor hidden = at::arange(c.length, rows.options()).unsqueeze(0) < rows.unsqueeze(1);
  const at::Tensor p = at::exp(at::bmm(k, q.transpose(1, 2)) * scale - lse).masked_fill(hidden, 0);
  const at::Tensor delta = (dout * by_head(last(c, forward.out), c.heads)).sum(2).unsqueeze(1);
  const auto summed = [&](const at::Tensor& x) {
    return x.unflatten(0, {c.kv_heads, c.heads / c.kv_heads}).sum(1);
  };
  to.dv = summed(at::bmm(p, dout));
  to.dk = summed(at::bmm(p * (at::bmm(v, dout.transpose(1, 2)) - delta), q)) * scale;
}

void check(const Case& c, const Inputs& in, const AttentionOutput& forward,
           const AttentionGradients& grads, double scale) {
  const at::Tensor rows = ops::to_device(
      {0, c.length / 3, c.length / 2, c.length - 1 - c.length / 7, c.length - 1}, at::kCUDA);
  Reference expected;
  queries(c, in, rows, scale, expected);
  keys(c, in, forward, rows, scale, expected);
  const auto sampled = [&](const at::Tensor& x) {
    return last(c, x).index_select(0, rows).transpose(0, 1).to(at::kFloat);
  };
  EXPECT_LT(relative_error(sampled(forward.out), expected.out), kTolerance);
  EXPECT_LT(relative_error(sampled(grads.dq), expected.dq), kTolerance);
  EXPECT_LT(relative_error(sampled(grads.dk), expected.dk), kTolerance);
  EXPECT_LT(relative_error(sampled(grads.dv), expected.dv), kTolerance);
  EXPECT_EQ(forward.lse.sizes(), at::IntArrayRef({c.heads, c.documents * c.length}));
}

class Kernels : public testing::TestWithParam<Case> {};

// As the engine calls it: one document by the dense kernels, several by those for packed ones.
TEST_P(Kernels, ForwardAndGradients) {
  const Case c = GetParam();
  const double scale = 1 / std::sqrt(static_cast<double>(c.dim));
  const Inputs in = make_inputs(c);
  std::vector<int64_t> starts;
  for (int64_t d = 0; d <= c.documents; ++d) starts.push_back(d * c.length);
  LocalAttention attention(starts, at::kCUDA, scale);
  const AttentionOutput out = attention.forward(in.q, in.k, in.v);
  check(c, in, out, attention.backward(in.dout, in.q, in.k, in.v, out), scale);
}

INSTANTIATE_TEST_SUITE_P(Attention, Kernels,
                         testing::Values(Case{1, 17, 4, 2, 64}, Case{1, 127, 7, 1, 128},
                                         Case{1, 1000, 16, 8, 64}, Case{1, 4097, 32, 4, 128},
                                         Case{50, 61, 8, 2, 128}, Case{3, 2049, 8, 8, 64},
                                         Case{1, 132000, 128, 8, 128},
                                         Case{4, 33000, 128, 8, 128}));

// Every query sees every key.
TEST(Kernels, FullBlocksAreRectangles) {
  const at::Tensor q = random(300, 8, 64), k = random(500, 2, 64), v = random(500, 2, 64);
  const AttentionOutput out = block_forward(q, k, v, Mask::kFull, 0.125);
  const at::Tensor p =
      at::softmax(at::bmm(by_head(q, 8), by_head(k, 8).transpose(1, 2)) * 0.125, 2);
  EXPECT_LT(relative_error(out.out.transpose(0, 1).to(at::kFloat), at::bmm(p, by_head(v, 8))),
            kTolerance);
}

}  // namespace
}  // namespace trireme::attention
