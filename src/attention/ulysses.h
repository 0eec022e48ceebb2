// Ulysses sequence parallelism (Jacobs et al. 2023, "DeepSpeed Ulysses"): each rank of a group
// holds some rows of the sequence with all heads; for attention an all-to-all gives it all rows of
// some heads, and another takes the result back.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "attention/attention.h"
#include "dist/group.h"

namespace trireme::attention {

// How a rank's heads are exchanged and attended to.
struct HeadGroups {
  int64_t repeats;  // copies of each key head
  int64_t keys;     // of a rank, with copies
  int64_t queries;  // of a rank
  int64_t group;    // query heads at a time

  int64_t count() const { return queries / group; }
};
// Of H query and K key heads over P ranks. A rank's query heads fall into runs of the same key
// head; all runs are of equal length if that divides both a rank's heads and the heads of one key,
// and each run has a copy of its key head. A group is the most heads of which T rows of D numbers
// are kBusyBytes, so that what is exchanged for one group lies under the attention of another, but
// at least a run, lest keys' gradients become sums; it is no more than `most_bytes`, but at least
// one head.
HeadGroups head_groups(int64_t heads, int64_t kv_heads, int64_t ranks, int64_t bytes_of_a_head,
                       int64_t most_bytes);

// Large enough for a kernel and a link to be busy; and what Ulysses holds of queries, of outputs
// and of their gradients at a time, at most.
constexpr int64_t kBusyBytes = int64_t{32} << 20, kHeadGroupBytes = int64_t{256} << 20;

// Bytes of a rank that exchanges hold at once, at most, of a sequence of `rows` rows over P ranks.
int64_t exchange_bytes(int64_t heads, int64_t kv_heads, int64_t head_dim, int64_t ranks,
                       int64_t rows, int64_t bytes_of_a_number);

// Query heads h * H / P ... of rank h, with the keys and values that they read: where several ranks
// read the same, or parts of a rank's query heads are not as many for each, keys and values are
// repeated, as often as need be and no more; their gradients are summed. Query heads are exchanged
// in groups: one travels while the one before it is attended to.
class UlyssesAttention : public Attention {
 public:
  // Rank r of `group` holds [bounds[r], bounds[r+1]) of the rows that `whole` attends over: of the
  // sequence, or of a ring's part of it. `group` outlives this; its size divides the query heads.
  UlyssesAttention(std::unique_ptr<Attention> whole, const dist::Group& group,
                   std::vector<int64_t> bounds, int64_t most_bytes = kHeadGroupBytes);

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
  HeadGroups groups(const at::Tensor& q, const at::Tensor& k) const;
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
