#include "attention/ulysses.h"

#include <ATen/ops/empty.h>

#include <numeric>

#include "base/error.h"

namespace trireme::attention {

void check_ulysses(int64_t heads, int64_t degree, const std::string& option) {
  if (heads % degree == 0) return;
  std::string degrees;
  for (int64_t d = 1; d <= heads; ++d) {
    if (heads % d == 0) degrees += (d == 1 ? "" : ", ") + std::to_string(d);
  }
  fail("{} {}: does not divide the model's {} attention heads: use one of {}", option, degree,
       heads, degrees);
}

UlyssesAttention::UlyssesAttention(std::unique_ptr<Attention> whole, const dist::Group& group,
                                   std::vector<int64_t> bounds)
    : whole_(std::move(whole)), group_(group), total_(bounds.back()) {
  TRIREME_CHECK(std::ssize(bounds) == group.size() + 1);
  for (size_t r = 0; r + 1 < bounds.size(); ++r) counts_.push_back(bounds[r + 1] - bounds[r]);
}

// A rank's query heads fall into runs of the same key head; all runs are of equal length if that
// divides both a rank's heads and the heads of one key, and each run has a copy of its key head.
int64_t UlyssesAttention::repeats(const at::Tensor& q, const at::Tensor& k) const {
  TRIREME_CHECK(q.size(1) % group_.size() == 0 && q.size(1) % k.size(1) == 0);
  const int64_t of_key = q.size(1) / k.size(1);
  return of_key / std::gcd(q.size(1) / group_.size(), of_key);
}

UlyssesAttention::Exchange UlyssesAttention::to_heads(const at::Tensor& x, int64_t repeats) const {
  const int64_t rows = x.size(0), ranks = group_.size(), dim = x.size(2);
  const int64_t here = x.size(1) * repeats / ranks;
  Exchange exchange;
  exchange.in = x.unsqueeze(2)
                    .expand({rows, x.size(1), repeats, dim})
                    .reshape({rows, ranks, here, dim})
                    .transpose(0, 1)
                    .contiguous()
                    .view({ranks * rows, here, dim});
  exchange.out = at::empty({total_, here, dim}, x.options());
  exchange.pending = group_.all_to_all(exchange.out, exchange.in, counts_,
                                       std::vector<int64_t>(counts_.size(), rows));
  return exchange;
}

UlyssesAttention::Exchange UlyssesAttention::to_rows(const at::Tensor& x) const {
  const int64_t rows = counts_[static_cast<size_t>(group_.index())], ranks = group_.size();
  Exchange exchange;
  exchange.in = x.contiguous();
  exchange.out = at::empty({ranks * rows, x.size(1), x.size(2)}, x.options());
  exchange.pending = group_.all_to_all(exchange.out, exchange.in,
                                       std::vector<int64_t>(counts_.size(), rows), counts_);
  return exchange;
}

at::Tensor UlyssesAttention::heads(Exchange exchange) const {
  exchange.pending->wait();
  return exchange.out;
}

at::Tensor UlyssesAttention::rows(Exchange exchange) const {
  exchange.pending->wait();
  const int64_t ranks = group_.size(), rows = exchange.out.size(0) / ranks;
  const int64_t heads = exchange.out.size(1), dim = exchange.out.size(2);
  return exchange.out.view({ranks, rows, heads, dim})
      .transpose(0, 1)
      .reshape({rows, ranks * heads, dim});
}

AttentionOutput UlyssesAttention::forward(const at::Tensor& q, const at::Tensor& k,
                                          const at::Tensor& v) {
  const int64_t times = repeats(q, k);
  Exchange query = to_heads(q), key = to_heads(k, times), value = to_heads(v, times);
  const AttentionOutput part =
      whole_->forward(heads(std::move(query)), heads(std::move(key)), heads(std::move(value)));
  return {rows(to_rows(part.out)), part.lse};
}

AttentionGradients UlyssesAttention::backward(const at::Tensor& dout, const at::Tensor& q,
                                              const at::Tensor& k, const at::Tensor& v,
                                              const AttentionOutput& forward) {
  const int64_t times = repeats(q, k);
  Exchange dout_part = to_heads(dout), query = to_heads(q), key = to_heads(k, times),
           value = to_heads(v, times), out = to_heads(forward.out);
  const AttentionGradients part =
      whole_->backward(heads(std::move(dout_part)), heads(std::move(query)), heads(std::move(key)),
                       heads(std::move(value)), {heads(std::move(out)), forward.lse});
  Exchange dq = to_rows(part.dq), dk = to_rows(part.dk), dv = to_rows(part.dv);
  // The copies of a key head stand side by side.
  const auto summed = [&](const at::Tensor& x) {
    return times == 1 ? x : x.view({k.size(0), k.size(1), times, k.size(2)}).sum(2);
  };
  AttentionGradients gradients{rows(std::move(dq)), summed(rows(std::move(dk))),
                               summed(rows(std::move(dv)))};
  return gradients;
}

}  // namespace trireme::attention
