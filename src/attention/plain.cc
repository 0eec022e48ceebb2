// Tiles of query rows against all keys, so that no [S,S] tensor exists. Gradients as in FlashAttention-2 (Dao 2023,
// section 3.1): P = exp(scores - lse), dS = P * (dP - rowsum(dO * O)).
#include "attention/plain.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <limits>

namespace trireme::attention {
namespace {

constexpr int64_t kScores = int64_t{64} << 20;  // elements of a tile's scores

// [S,N,D] -> [K, S * N/K, D]: the query heads of a key head side by side, one batched product for all.
class Grouped {
 public:
  explicit Grouped(int64_t kv_heads) : kv_heads_(kv_heads) {}
  at::Tensor queries(const at::Tensor& x) const {
    return x.unflatten(1, {kv_heads_, -1}).permute({1, 2, 0, 3}).flatten(1, 2);
  }
  at::Tensor rows(const at::Tensor& x, int64_t tokens) const {  // the inverse
    return x.unflatten(1, {-1, tokens}).permute({2, 0, 1, 3}).flatten(1, 2);
  }
  static at::Tensor keys(const at::Tensor& x) { return x.transpose(0, 1); }  // [K,S,D]

 private:
  int64_t kv_heads_;
};

// [K, G rows, Sk]: scaled, masked beyond the diagonal. `first`: the tile's first query row.
at::Tensor tile_scores(const at::Tensor& q, const at::Tensor& k, Mask mask, double scale, int64_t first,
                       int64_t rows) {
  at::Tensor scores = at::matmul(q, k.transpose(1, 2)).mul_(scale);
  if (mask == Mask::kCausal) {
    const at::Tensor hidden = at::ones({rows, k.size(1)}, k.options().dtype(at::kBool)).triu(first + 1);
    scores.unflatten(1, {-1, rows}).masked_fill_(hidden, -std::numeric_limits<double>::infinity());
  }
  return scores;
}

template <typename Body>
void for_each_tile(const at::Tensor& q, const at::Tensor& k, const Body& body) {
  const int64_t tile = std::max<int64_t>(1, kScores / (q.size(1) * k.size(0)));
  for (int64_t first = 0; first < q.size(0); first += tile) body(first, std::min(tile, q.size(0) - first));
}

}  // namespace

AttentionOutput plain_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, Mask mask,
                              double scale) {
  AttentionOutput result{at::empty(q.sizes(), q.options()), at::empty({q.size(1), q.size(0)}, q.options())};
  const Grouped group(k.size(1));
  for_each_tile(q, k, [&](int64_t first, int64_t rows) {
    const at::Tensor scores =
        tile_scores(group.queries(q.narrow(0, first, rows)), group.keys(k), mask, scale, first, rows);
    const at::Tensor lse = at::logsumexp(scores, {2}, /*keepdim=*/true);
    const at::Tensor out = at::matmul((scores - lse).exp_(), group.keys(v));
    result.out.narrow(0, first, rows).copy_(group.rows(out, rows));
    result.lse.narrow(1, first, rows).copy_(lse.view({q.size(1), rows}));
  });
  return result;
}

AttentionGradients plain_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                  const at::Tensor& v, const AttentionOutput& forward, Mask mask,
                                  double scale) {
  const Grouped group(k.size(1));
  at::Tensor dk = at::zeros({k.size(1), k.size(0), k.size(2)}, k.options()), dv = at::zeros_like(dk);
  AttentionGradients result{at::empty(q.sizes(), q.options()), {}, {}};
  for_each_tile(q, k, [&](int64_t first, int64_t rows) {
    const auto queries = [&](const at::Tensor& x) { return group.queries(x.narrow(0, first, rows)); };
    const at::Tensor tile = queries(q), grad = queries(dout);
    const at::Tensor lse = forward.lse.narrow(1, first, rows).reshape({k.size(1), -1, 1});
    const at::Tensor p = tile_scores(tile, group.keys(k), mask, scale, first, rows).sub_(lse).exp_();
    dv.add_(at::matmul(p.transpose(1, 2), grad));
    const at::Tensor dp = at::matmul(grad, group.keys(v).transpose(1, 2));
    const at::Tensor delta = (grad * queries(forward.out)).sum(2, /*keepdim=*/true);
    const at::Tensor ds = (dp - delta).mul_(p).mul_(scale);
    result.dq.narrow(0, first, rows).copy_(group.rows(at::matmul(ds, group.keys(k)), rows));
    dk.add_(at::matmul(ds.transpose(1, 2), tile));
  });
  result.dk = dk.transpose(0, 1);
  result.dv = dv.transpose(0, 1);
  return result;
}

}  // namespace trireme::attention
