#include "attention/ring.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include "attention/block.h"
#include "base/error.h"

namespace trireme::attention {
namespace {

using layout::Range;
using layout::Rectangle;

at::Tensor rows_of(const at::Tensor& x, Range rows) { return x.narrow(0, rows.first, rows.size()); }
at::Tensor lse_of(const at::Tensor& lse, Range rows) {
  return lse.narrow(1, rows.first, rows.size());
}

// Adds what queries saw of more keys to their sum: with s the sigmoid,
//   out = out + s(lse' - lse) (out' - out),  lse = lse - log s(lse - lse'),
// where no exponential overflows, however far apart the two are.
void merge(AttentionOutput& sum, Range queries, const AttentionOutput& part) {
  at::Tensor out = rows_of(sum.out, queries), lse = lse_of(sum.lse, queries);
  const at::Tensor weight = at::sigmoid(part.lse - lse);  // [H,S]
  out.lerp_(part.out.to(at::kFloat), weight.t().unsqueeze(2));
  lse.sub_(at::log_sigmoid(lse - part.lse));
}

// Adds the gradients of a block to the sums of the queries [S,H,D] and of keys and values
// [2,S,K,D].
void merge(at::Tensor& dq, at::Tensor& dkv, const Rectangle& block,
           const AttentionGradients& part) {
  rows_of(dq, block.q).add_(part.dq);
  rows_of(dkv[0], block.k).add_(part.dk);
  rows_of(dkv[1], block.k).add_(part.dv);
}

at::Tensor float_zeros(const at::Tensor& like) {
  return at::zeros(like.sizes(), like.options().dtype(at::kFloat));
}

}  // namespace

RingAttention::RingAttention(const std::vector<int64_t>& starts,
                             const std::vector<layout::Rows>& rows, const dist::Group& group,
                             const at::Device& device, double scale)
    : squares_(layout::causal_starts(starts, rows[group.index()]), device, scale),
      group_(group),
      scale_(scale) {
  const int64_t ranks = group.size(), me = group.index();
  TRIREME_CHECK(std::ssize(rows) == ranks);
  for (int64_t step = 0; step < ranks; ++step) {
    const layout::Rows& keys = rows[(me + ranks - step) % ranks];
    steps_.push_back({layout::size(keys), layout::rectangles(starts, rows[me], keys)});
  }
}

// Of x, which belongs to the keys of the step; what arrives belongs to those of the next, which
// after the last step are this rank's own.
RingAttention::Travelling RingAttention::post(const at::Tensor& x, size_t step) const {
  const int64_t rows = steps_[(step + 1) % steps_.size()].keys;
  Travelling travelling{x, at::empty({2, rows, x.size(2), x.size(3)}, x.options()), nullptr};
  travelling.pending = group_.ring_shift(travelling.arriving, travelling.sent);
  return travelling;
}

at::Tensor RingAttention::wait(Travelling travelling) {
  travelling.pending->wait();
  return travelling.arriving;
}

AttentionOutput RingAttention::compute(const Rectangle& block, const at::Tensor& q,
                                       const at::Tensor& kv) const {
  return block_forward(rows_of(q, block.q), rows_of(kv[0], block.k), rows_of(kv[1], block.k),
                       Mask::kFull, scale_);
}

AttentionGradients RingAttention::compute(const Rectangle& block, const at::Tensor& dout,
                                          const at::Tensor& q, const at::Tensor& kv,
                                          const AttentionOutput& forward) const {
  const AttentionOutput seen{rows_of(forward.out, block.q),
                             lse_of(forward.lse, block.q).contiguous()};
  return block_backward(rows_of(dout, block.q), rows_of(q, block.q), rows_of(kv[0], block.k),
                        rows_of(kv[1], block.k), seen, Mask::kFull, scale_);
}

AttentionOutput RingAttention::forward(const at::Tensor& q, const at::Tensor& k,
                                       const at::Tensor& v) {
  at::Tensor kv = at::stack({k, v});
  AttentionOutput sum;
  for (size_t step = 0; step < steps_.size(); ++step) {
    const bool last = step + 1 == steps_.size();
    Travelling next = last ? Travelling() : post(kv, step);
    if (step == 0) {
      sum = squares_.forward(q, k, v);
      sum.out = sum.out.to(at::kFloat);
    }
    for (const Rectangle& block : steps_[step].blocks) {
      merge(sum, block.q, compute(block, q, kv));
    }
    if (!last) kv = wait(std::move(next));
  }
  return {sum.out.to(q.scalar_type()), sum.lse};
}

AttentionGradients RingAttention::backward(const at::Tensor& dout, const at::Tensor& q,
                                           const at::Tensor& k, const at::Tensor& v,
                                           const AttentionOutput& forward) {
  at::Tensor kv = at::stack({k, v}), dq = float_zeros(q);
  Travelling home;  // gradients of keys and values, behind these by a step
  for (size_t step = 0; step < steps_.size(); ++step) {
    const bool last = step + 1 == steps_.size();
    Travelling next = last ? Travelling() : post(kv, step);
    at::Tensor dkv = float_zeros(kv);
    if (step == 0) {
      merge(dq, dkv, {{0, q.size(0)}, {0, k.size(0)}}, squares_.backward(dout, q, k, v, forward));
    }
    for (const Rectangle& block : steps_[step].blocks) {
      merge(dq, dkv, block, compute(block, dout, q, kv, forward));
    }
    if (step > 0) dkv.add_(wait(std::move(home)));
    home = post(dkv, step);
    if (!last) kv = wait(std::move(next));
  }
  const at::Tensor dkv = wait(std::move(home)).to(k.scalar_type());
  return {dq.to(q.scalar_type()), dkv[0], dkv[1]};
}

}  // namespace trireme::attention
