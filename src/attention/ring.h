// Ring attention (Liu et al. 2023, arXiv 2310.01889): each rank of a group holds some rows of the
// sequence with all heads. Keys and values go round: while a rank computes with those that it has,
// the next ones arrive. In backward the gradients of keys and values follow them, and are home
// after the last step.
#pragma once

#include <algorithm>
#include <vector>

#include "attention/attention.h"
#include "dist/group.h"
#include "layout/causal.h"

namespace trireme::attention {

// Documents are cut where ranks' rows end (layout/causal.h); none is padded. What is summed over
// steps is fp32, always in the same order.
class RingAttention : public Attention {
 public:
  // Rank r of `group` holds rows[r] of the sequence of documents `starts`. `group` outlives this.
  RingAttention(const std::vector<int64_t>& starts, const std::vector<layout::Rows>& rows,
                const dist::Group& group, const at::Device& device, double scale)
      : RingAttention(starts, rows, group.index(), group, device, scale) {}
  // Rank `me` of the ring. A group of one rank stands for all, where times are measured and not
  // results: what goes to the next rank comes back as the previous one's, which has as many rows.
  RingAttention(const std::vector<int64_t>& starts, const std::vector<layout::Rows>& rows,
                int64_t me, const dist::Group& group, const at::Device& device, double scale);

  // Of this rank's rows.
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
