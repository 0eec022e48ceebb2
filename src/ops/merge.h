// Attention over keys that come in parts: the result for all keys from the results of the parts.
// Each call passes once over the sum, however many parts there are.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace trireme::ops {

// What the queries of rows first, ..., first + n - 1 saw of some keys; or gradients of these rows.
struct AttentionPart {
  at::Tensor out;  // [n,H,D]
  at::Tensor lse;  // [H,n] fp32: the logarithm of the sum of exponentials; undefined: gradients
  int64_t first;
};

// At most so many parts in one call.
inline constexpr size_t kMostParts = 16;

// Adds parts to out [S,H,D] and lse [H,S] fp32, over keys that they do not have in common: with
// lse' = log sum_i exp(lse_i), the sum over i of exp(lse_i - lse') out_i. `out` is of the parts'
// dtype or fp32; the sum is fp32, is rounded once to `dtype`, one of these, and is returned: in
// place where out has this dtype. lse becomes lse'.
at::Tensor merge_attention(const at::Tensor& out, at::Tensor& lse,
                           const std::vector<AttentionPart>& parts, at::ScalarType dtype);

// Adds parts, gradients, to sum [S,H,D]: without weights, else the same.
at::Tensor add_parts(const at::Tensor& sum, const std::vector<AttentionPart>& parts,
                     at::ScalarType dtype);

}  // namespace trireme::ops
