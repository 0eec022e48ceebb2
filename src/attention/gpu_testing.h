// For *_gpu_test.cc: attention in bf16 against softmax(q k^T) v in fp32, on sampled queries and
// sampled keys. What they cost does not grow with the square of the length, so that lengths whose
// offsets pass 2^31 elements are tested too.
#pragma once

#include <ATen/ops/arange.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/softmax.h>

#include <array>
#include <cmath>
#include <vector>

#include "attention/testing.h"
#include "ops/testing.h"
#include "ops/to_device.h"

namespace trireme::attention {

constexpr double kTolerance = 1e-2;  // bf16 inputs, probabilities and results; gradients cancel

struct Case {
  int64_t documents, length, heads, kv_heads, dim;

  int64_t tokens() const { return documents * length; }
  double scale() const { return 1 / std::sqrt(static_cast<double>(dim)); }
  std::vector<int64_t> starts() const {
    std::vector<int64_t> starts;
    for (int64_t d = 0; d <= documents; ++d) starts.push_back(d * length);
    return starts;
  }
};

inline at::Tensor random(int64_t tokens, int64_t heads, int64_t dim) {
  at::Tensor x =
      at::empty({tokens, heads, dim}, at::TensorOptions(at::kBFloat16).device(at::kCUDA));
  return x.normal_();
}

inline Inputs make_inputs(const Case& c) {
  const int64_t tokens = c.tokens();
  return {random(tokens, c.heads, c.dim), random(tokens, c.kv_heads, c.dim),
          random(tokens, c.kv_heads, c.dim), random(tokens, c.heads, c.dim)};
}

// [rows,N,D] -> fp32 [heads,rows,D], heads repeated.
inline at::Tensor by_head(const at::Tensor& x, int64_t heads) {
  return x.transpose(0, 1).to(at::kFloat).repeat_interleave(heads / x.size(1), 0);
}

// The last document's part of x.
inline at::Tensor last(const Case& c, const at::Tensor& x) {
  return x.narrow(0, (c.documents - 1) * c.length, c.length);
}

struct Reference {
  at::Tensor out, dq;  // [H,rows,D], of the sampled queries
  at::Tensor dk, dv;   // [K,rows,D], of the sampled keys
};

// out and dq of `rows` of the last document: each looks at the keys up to itself.
inline void queries(const Case& c, const Inputs& in, const at::Tensor& rows, double scale,
                    Reference& to) {
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
inline void keys(const Case& c, const Inputs& in, const AttentionOutput& forward,
                 const at::Tensor& rows, double scale, Reference& to) {
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

// Relative errors of out, dq, dk and dv at five rows of the last document.
inline std::array<double, 4> sampled_errors(const Case& c, const Inputs& in, const Result& found) {
  const auto& [forward, grads] = found;
  const at::Tensor rows = ops::to_device(
      {0, c.length / 3, c.length / 2, c.length - 1 - c.length / 7, c.length - 1}, at::kCUDA);
  Reference expected;
  queries(c, in, rows, c.scale(), expected);
  keys(c, in, forward, rows, c.scale(), expected);
  const auto error = [&](const at::Tensor& x, const at::Tensor& reference) {
    const at::Tensor sampled = last(c, x).index_select(0, rows).transpose(0, 1);
    return ops::relative_error(sampled.to(at::kFloat), reference);
  };
  return {error(forward.out, expected.out), error(grads.dq, expected.dq),
          error(grads.dk, expected.dk), error(grads.dv, expected.dv)};
}

}  // namespace trireme::attention
