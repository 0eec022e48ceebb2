// Ring attention (Liu et al. 2023, arXiv 2310.01889): each rank of a group holds some rows of the
// sequence with all heads. Keys and values go round: while a rank computes with those that it has,
// the next ones arrive. In backward the gradients of keys and values follow them, and are back on
// their own rank after the last step.
//
// A step posts the keys and values to the next rank, computes with them, merges and waits. Outputs
// of blocks are added to their fp32 sum several at a time: each pass over it costs a tenth of what
// a block of 8,192 rows does (ops/merge.h).
#pragma once

#include <algorithm>
#include <vector>

#include "attention/attention.h"
#include "dist/group.h"
#include "layout/causal.h"

namespace trireme::attention {

// Documents are cut where ranks' rows end (layout/causal.h), and none is padded. Sums over steps
// are fp32, always in the same order.
class RingAttention : public Attention {
 public:
  // Rank r of `group` holds rows[r] of the sequence of documents `starts`. `group` outlives this.
  RingAttention(const std::vector<int64_t>& starts, const std::vector<layout::Rows>& rows,
                const dist::Group& group, const at::Device& device, double scale)
      : RingAttention(starts, rows, group.index(), group, device, scale) {}
  // Rank `me` of the ring. For timing only: with a group of one rank the ring exchanges with
  // itself. The sizes are those of the full ring, and the results are meaningless.
  RingAttention(const std::vector<int64_t>& starts, const std::vector<layout::Rows>& rows,
                int64_t me, const dist::Group& group, const at::Device& device, double scale);

  // All tensors are of this rank's rows.
  AttentionOutput forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) override;
  AttentionGradients backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                              const at::Tensor& v, const AttentionOutput& forward) override;

 private:
  // In step s the keys are those of the rank s before this one.
  struct Step {
    int64_t keys;  // rows
    std::vector<layout::Rectangle> blocks;
  };
  // A tensor [2,S,K,D] on its way to the next rank, and the previous one's on its way here.
  struct Travelling {
    at::Tensor sent, arriving;
    dist::PendingPtr pending;
  };
  Travelling post(const at::Tensor& x, size_t step) const;
  static at::Tensor wait(Travelling travelling);
  AttentionOutput compute(const layout::Rectangle& block, const at::Tensor& q,
                          const at::Tensor& kv) const;
  AttentionGradients compute(const layout::Rectangle& block, const at::Tensor& dout,
                             const at::Tensor& q, const at::Tensor& kv,
                             const AttentionOutput& forward) const;

  LocalAttention squares_;  // needs no other rank's keys
  std::vector<Step> steps_;
  const dist::Group& group_;
  double scale_;
};

}  // namespace trireme::attention
