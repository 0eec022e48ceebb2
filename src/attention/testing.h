// For tests: attention of a whole sequence by one rank, and by the ranks of a ring, which are
// threads.
#pragma once

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <functional>
#include <vector>

#include "attention/ring.h"
#include "dist/testing.h"

namespace trireme::attention {

struct Inputs {
  at::Tensor q, k, v, dout;

  Inputs of(const std::function<at::Tensor(const at::Tensor&)>& change) const {
    return {change(q), change(k), change(v), change(dout)};
  }
};

struct Result {
  AttentionOutput forward;
  AttentionGradients gradients;
};

inline Result pass(Attention& attention, const Inputs& in) {
  const AttentionOutput out = attention.forward(in.q, in.k, in.v);
  return {out, attention.backward(in.dout, in.q, in.k, in.v, out)};
}

inline at::Tensor rows_of(const at::Tensor& x, const layout::Rows& rows) {
  std::vector<at::Tensor> parts = {x.narrow(0, 0, 0)};
  for (const layout::Range& range : rows) {
    parts.push_back(x.narrow(0, range.first, range.size()));
  }
  return at::cat(parts);
}

// Writes `part`, which has these rows, into the whole sequence.
inline void put(const at::Tensor& whole, const at::Tensor& part, const layout::Rows& rows) {
  int64_t at = 0;
  for (const layout::Range& range : rows) {
    whole.narrow(0, range.first, range.size()).copy_(part.narrow(0, at, range.size()));
    at += range.size();
  }
}

// What the ranks of a ring found, in the order of the sequence.
inline Result ring(const std::vector<int64_t>& starts, int64_t ranks, config::RingOrder order,
                   const Inputs& in, double scale) {
  constexpr config::Axis kRing[] = {config::Axis::kRing};
  const std::vector<layout::Rows> rows = layout::deal(starts, ranks, order).rows;
  const Result whole{{at::empty_like(in.q),
                      at::empty({in.q.size(1), in.q.size(0)}, in.q.options().dtype(at::kFloat))},
                     {at::empty_like(in.q), at::empty_like(in.k), at::empty_like(in.v)}};
  dist::run_ranks({.ring = ranks}, kRing, [&](const dist::Mesh& mesh) {
    const layout::Rows& mine = rows[mesh.rank()];
    RingAttention attention(starts, rows, mesh.group(config::Axis::kRing), in.q.device(), scale);
    const Result part =
        pass(attention, in.of([&](const at::Tensor& x) { return rows_of(x, mine); }));
    put(whole.forward.out, part.forward.out, mine);
    put(whole.forward.lse.t(), part.forward.lse.t(), mine);
    put(whole.gradients.dq, part.gradients.dq, mine);
    put(whole.gradients.dk, part.gradients.dk, mine);
    put(whole.gradients.dv, part.gradients.dv, mine);
  });
  return whole;
}

}  // namespace trireme::attention
