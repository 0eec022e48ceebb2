// Ulysses sequence parallelism (Jacobs et al. 2023, "DeepSpeed Ulysses"): each rank of a group
// holds some rows of the sequence with all heads; for attention an all-to-all gives it all rows of
// some heads, and another takes the result back.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "attention/attention.h"
#include "dist/group.h"
#include "layout/exchange.h"

namespace trireme::attention {

// Query heads h * H / P ... of rank h, with the keys and values that they read: where several ranks
// read the same, or parts of a rank's query heads are not as many for each, keys and values are
// repeated, as often as need be and no more; their gradients are summed. Query heads are exchanged
// in groups: one travels while the one before it is attended to.
class UlyssesAttention : public Attention {
 public:
  // Rank r of `group` holds [bounds[r], bounds[r+1]) of the rows that `whole` attends over: of the
  // sequence, or of a ring's part of it. `group` outlives this; its size divides the query heads.
  UlyssesAttention(std::unique_ptr<Attention> whole, const dist::Group& group,
                   std::vector<int64_t> bounds, int64_t most_bytes = layout::kHeadGroupBytes);

  // q [S,H,D], k and v [S,K,D] of this rank's S rows. Of the output, `out` is of these rows and all
  // heads, lse [H/P, T] of all rows and this rank's heads.
  AttentionOutput forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) override;
  AttentionGradients backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                              const at::Tensor& v, const AttentionOutput& forward) override;

 private:
  struct Exchange {
    at::Tensor in, out;
    dist::PendingPtr pending;
  };
  layout::HeadGroups groups(const at::Tensor& q, const at::Tensor& k) const;
  // Of x [S,N,D], of whose N / P heads for each rank those of group `index` of `size` are taken, or
  // all, repeated: [T, heads, D]. Asynchronous.
  Exchange to_heads(const at::Tensor& x, int64_t index, int64_t size) const;
  Exchange to_heads(const at::Tensor& x, int64_t repeats) const;
  Exchange send_rows(at::Tensor parts) const;
  // Of x [T,N,D]: to the ranks of its rows. Asynchronous.
  Exchange to_rows(const at::Tensor& x) const;
  // Ends the exchange.
  at::Tensor heads(Exchange exchange) const;
  // Ends it: [S, P, N, D], heads of the first rank first.
  at::Tensor rows(Exchange exchange) const;

  std::unique_ptr<Attention> whole_;
  const dist::Group& group_;
  std::vector<int64_t> counts_;  // rows of each rank
  int64_t total_;
  int64_t most_bytes_;
};

}  // namespace trireme::attention
