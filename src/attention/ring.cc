#include "attention/ring.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "attention/block.h"
#include "base/error.h"
#include "layout/exchange.h"
#include "ops/merge.h"

namespace trireme::attention {
namespace {

using layout::Range;
using layout::Rectangle;

at::Tensor rows_of(const at::Tensor& x, Range rows) { return x.narrow(0, rows.first, rows.size()); }
at::Tensor lse_of(const at::Tensor& lse, Range rows) {
  return lse.narrow(1, rows.first, rows.size());
}

// Outputs of blocks, or gradients of queries, that wait to be added to those of the squares. One
// pass over the sum, which is fp32 from then on, adds as many as there is memory for. These passes
// are what a ring costs beside the kernels: at 8,192 rows a rank (32 heads of 128, bf16) one pass
// for each block would take a tenth of the forward's time.
class Waiting {
 public:
  // There is room for `blocks` blocks of all queries. Gradients have no lse.
  Waiting(const at::Tensor& out, const at::Tensor& lse, int64_t blocks)
      : sum_{out.contiguous(), lse.defined() ? lse.contiguous() : lse},
        dtype_(out.scalar_type()),
        room_(blocks * out.size(0)) {}
  // Called before the block is computed.
  void make_room(Range queries) {
    const bool full = rows_ + queries.size() > room_ || parts_.size() == ops::kMostParts;
    if (full) merge(at::kFloat);
  }
  void add(Range queries, const at::Tensor& out, const at::Tensor& lse) {
    parts_.push_back({out, lse, queries.first});
    rows_ += queries.size();
  }
  AttentionOutput all() {
    merge(dtype_);
    return sum_;
  }

 private:
  void merge(at::ScalarType dtype) {
    sum_.out = sum_.lse.defined() ? ops::merge_attention(sum_.out, sum_.lse, parts_, dtype)
                                  : ops::add_parts(sum_.out, parts_, dtype);
    parts_.clear();
    rows_ = 0;
  }

  AttentionOutput sum_;
  at::ScalarType dtype_;
  int64_t room_, rows_ = 0;
  std::vector<ops::AttentionPart> parts_;
};

// The first terms of the sums of keys' and values' gradients: [2,S,K,D] fp32.
at::Tensor float_pair(const at::Tensor& dk, const at::Tensor& dv) {
  at::Tensor pair =
      at::empty({2, dk.size(0), dk.size(1), dk.size(2)}, dk.options().dtype(at::kFloat));
  pair[0].copy_(dk);
  pair[1].copy_(dv);
  return pair;
}

void add_rows(const at::Tensor& sum, const at::Tensor& part, Range rows) {
  ops::add_parts(sum, {{part, {}, rows.first}}, at::kFloat);
}

int64_t area(const Rectangle& block) { return block.q.size() * block.k.size(); }

}  // namespace

RingAttention::RingAttention(const std::vector<int64_t>& starts,
                             const std::vector<layout::Rows>& rows, int64_t me,
                             const dist::Group& group, const at::Device& device, double scale)
    : squares_(layout::causal_starts(starts, rows[me]), device, scale),
      group_(group),
      scale_(scale) {
  const int64_t ranks = std::ssize(rows);
  TRIREME_CHECK(group.size() == 1 || (group.size() == ranks && group.index() == me));
  for (int64_t step = 0; step < ranks; ++step) {
    const layout::Rows& keys = rows[(me + ranks - step) % ranks];
    steps_.push_back({layout::size(keys), layout::rectangles(starts, rows[me], keys)});
    // The largest block is first: the gradients that backward adds to arrive while it computes.
    std::ranges::stable_sort(steps_.back().blocks, std::ranges::greater{}, area);
  }
}

// Sends x, which belongs to the keys of the step. What arrives belongs to the keys of the next
// step, which are this rank's own after the last one.
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
  std::optional<Waiting> seen;
  for (size_t step = 0; step < steps_.size(); ++step) {
    const bool last = step + 1 == steps_.size();
    Travelling next = last ? Travelling() : post(kv, step);
    if (step == 0) {
      const AttentionOutput own = squares_.forward(q, k, v);
      seen.emplace(own.out, own.lse, layout::kForwardBlocks);
    }
    for (const Rectangle& block : steps_[step].blocks) {
      seen->make_room(block.q);
      const AttentionOutput part = compute(block, q, kv);
      seen->add(block.q, part.out, part.lse);
    }
    if (!last) kv = wait(std::move(next));
  }
  return seen->all();
}

AttentionGradients RingAttention::backward(const at::Tensor& dout, const at::Tensor& q,
                                           const at::Tensor& k, const at::Tensor& v,
                                           const AttentionOutput& forward) {
  at::Tensor kv = at::stack({k, v}), dkv;
  std::optional<Waiting> dq;
  Travelling home;  // gradients of keys and values, behind these by a step
  for (size_t step = 0; step < steps_.size(); ++step) {
    const bool last = step + 1 == steps_.size();
    Travelling next = last ? Travelling() : post(kv, step);
    if (step == 0) {
      const AttentionGradients own = squares_.backward(dout, q, k, v, forward);
      dq.emplace(own.dq, at::Tensor(), layout::kBackwardBlocks);
      dkv = float_pair(own.dk, own.dv);
    }
    for (const Rectangle& block : steps_[step].blocks) {
      dq->make_room(block.q);
      const AttentionGradients part = compute(block, dout, q, kv, forward);
      dq->add(block.q, part.dq, {});
      if (home.pending) dkv = wait(std::exchange(home, {}));
      add_rows(dkv[0], part.dk, block.k);
      add_rows(dkv[1], part.dv, block.k);
    }
    if (home.pending) dkv = wait(std::exchange(home, {}));
    home = post(dkv, step);
    if (!last) kv = wait(std::move(next));
  }
  const at::Tensor all_dq = dq->all().out;  // while the last gradients arrive
  dkv = wait(std::move(home)).to(k.scalar_type());
  return {all_dq, dkv[0], dkv[1]};
}

}  // namespace trireme::attention
