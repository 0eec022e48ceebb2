// Ulysses sequence parallelism (Jacobs et al. 2023, "DeepSpeed Ulysses"): each rank of a group
// holds some rows of the sequence with all heads; for attention an all-to-all gives it all rows of
// some heads, and another takes the result back.
//
// It goes around whatever attends over its group's rows: the whole sequence, or a ring. Heads
// travel in groups, one group while another is attended to. NCCL's stream has priority: an exchange
// queued behind a kernel that fills the device would hide under nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "attention/attention.h"
#include "dist/group.h"
#include "layout/exchange.h"

namespace trireme::attention {

// Rank r computes query heads [r H / P, (r + 1) H / P) with the keys and values that they read.
// Keys and values are repeated, as little as possible, where several ranks read the same head or
// where a rank's key heads have unequal numbers of query heads; their gradients are then summed.
// Query heads are exchanged in groups: one travels while attention computes the one before it
// (layout/exchange.h).
class UlyssesAttention : public Attention {
 public:
  // Rank r of `group` holds [bounds[r], bounds[r+1]) of the rows that `whole` computes attention
  // over: those of the sequence, or of a ring rank's part of it. `group` outlives this; its size
  // divides the query heads.
  UlyssesAttention(std::unique_ptr<Attention> whole, const dist::Group& group,
                   std::vector<int64_t> bounds, int64_t most_bytes = layout::kHeadGroupBytes);

  // q [S,H,D], k and v [S,K,D] of this rank's S rows. In the output, `out` has these rows and all
  // heads; lse [H/P, T] has all rows and this rank's heads.
  AttentionOutput forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) override;
  AttentionGradients backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                              const at::Tensor& v, const AttentionOutput& forward) override;

 private:
  struct Exchange {
    at::Tensor in, out;
    dist::PendingPtr pending;
  };
  layout::HeadGroups groups(const at::Tensor& q, const at::Tensor& k) const;
  // Sends heads of x [S,N,D] to their ranks, and receives [T, heads, D]. Of the N / P heads for
  // each rank these are the `size` heads of group `index`, or all of them, repeated. Asynchronous.
  Exchange to_heads(const at::Tensor& x, int64_t index, int64_t size) const;
  Exchange to_heads(const at::Tensor& x, int64_t repeats) const;
  Exchange send_rows(at::Tensor parts) const;
  // Sends the rows of x [T,N,D] back to their ranks. Asynchronous.
  Exchange to_rows(const at::Tensor& x) const;
  // Waits for the exchange of to_heads and returns its result.
  at::Tensor heads(Exchange exchange) const;
  // Waits for the exchange of to_rows and returns [S, P, N, D], the heads of the first rank first.
  at::Tensor rows(Exchange exchange) const;

  std::unique_ptr<Attention> whole_;
  const dist::Group& group_;
  std::vector<int64_t> counts_;  // rows of each rank
  int64_t total_;
  int64_t most_bytes_;
};

}  // namespace trireme::attention
