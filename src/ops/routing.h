// Which experts see which tokens: softmax over all experts in fp32, top k, optionally renormalised.
// Pairs (token, choice) are sorted by expert, so that each expert's rows are one slice; nothing of
// it is read by the host. Everything is deterministic.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace trireme::ops {

struct Routing {
  at::Tensor experts;  // int32 [S,k], the likeliest first
  at::Tensor weights;  // fp32 [S,k], as applied: rounded to the activations' dtype
  at::Tensor rows;     // int32 [S,k]: the row of each pair in expert order
  at::Tensor tokens;   // int32 [S k]: the token of each row
  at::Tensor ends;  // [E] where each expert's rows end, as ops::group_ends: CPU int64, CUDA int32
};

// logits [S,E] in the activations' dtype, E up to 512, k up to 16. Of equal logits the lower expert
// is chosen first; pairs of an expert keep their order of tokens.
Routing route(const at::Tensor& logits, int64_t k, bool norm_topk_prob);

// x [S,C] (rows may be strided), tokens as Routing's -> [S k,C].
at::Tensor gather_rows(const at::Tensor& x, const at::Tensor& tokens);

// rows [S k,C] in expert order -> y [S,C] contiguous = base + sum over j of
// w[s,j] rows[routing.rows[s,j]], in the order of j in fp32 and rounded once. weights fp32 [S,k],
// undefined: 1. base [S,C] (rows may be strided), undefined: 0.
void combine_rows(const at::Tensor& rows, const Routing& routing, const at::Tensor& weights,
                  const at::Tensor& base, at::Tensor y);

// The weights in expert order: fp32 [S k].
at::Tensor row_weights(const Routing& routing);

// What a loss that balances the experts counts of the first `tokens` tokens: adds to choices fp64
// [E] how often each expert was chosen, and to probabilities fp64 [E] the sums of its softmax.
void add_router_load(const at::Tensor& logits, const Routing& routing, int64_t tokens,
                     at::Tensor choices, at::Tensor probabilities);

// A gradient at the softmax itself, before any choice: fp32 [E], the same at each of the first
// `tokens` tokens. Undefined: none.
struct ProbabilityGrad {
  at::Tensor grad;
  int64_t tokens = 0;
};

// dweight_rows fp32 [S k], the gradient at the applied weights in expert order -> dlogits [S,E] in
// the activations' dtype. logits and norm_topk_prob as the forward's.
at::Tensor router_backward(const at::Tensor& logits, const Routing& routing,
                           const at::Tensor& dweight_rows, bool norm_topk_prob,
                           const ProbabilityGrad& dprobability = {});

}  // namespace trireme::ops
