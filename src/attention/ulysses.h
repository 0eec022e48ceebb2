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

// UserError: the degree does not divide the query heads; names degrees that do. `option`: what set
// it.
void check_ulysses(int64_t heads, int64_t degree, const std::string& option);

// Query heads h * H / P ... of rank h, with the keys and values that they read: where several ranks
// read the same, or parts of a rank's query heads are not as many for each, keys and values are
// repeated, as often as need be and no more; their gradients are summed.
class UlyssesAttention : public Attention {
 public:
  // Rank r of `group` holds the rows [bounds[r], bounds[r+1]) of the sequence, of which `whole`
  // computes attention. `group` outlives this; its size divides the query heads.
  UlyssesAttention(std::unique_ptr<Attention> whole, const dist::Group& group,
                   std::vector<int64_t> bounds);

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
  int64_t repeats(const at::Tensor& q, const at::Tensor& k) const;
  // Of x [S,N,D], whose heads are repeated: [T, N repeats / P, D]. Asynchronous.
  Exchange to_heads(const at::Tensor& x, int64_t repeats = 1) const;
  // Of x [T,N,D]: [S, N P, D], heads of the first rank first. Asynchronous.
  Exchange to_rows(const at::Tensor& x) const;
  // Ends the exchange.
  at::Tensor heads(Exchange exchange) const;
  at::Tensor rows(Exchange exchange) const;

  std::unique_ptr<Attention> whole_;
  const dist::Group& group_;
  std::vector<int64_t> counts_;  // rows of each rank
  int64_t total_;
};

}  // namespace trireme::attention
