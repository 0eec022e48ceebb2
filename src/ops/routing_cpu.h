// The CPU's half of ops/routing.h, fp32; for routing.cc only.
#pragma once

#include "ops/routing.h"

namespace trireme::ops::cpu {

Routing route(const at::Tensor& logits, int64_t k, bool norm_topk_prob);
at::Tensor gather_rows(const at::Tensor& x, const at::Tensor& tokens);
void combine_rows(const at::Tensor& rows, const Routing& routing, const at::Tensor& weights,
                  const at::Tensor& base, at::Tensor y);
at::Tensor row_weights(const Routing& routing);
at::Tensor router_backward(const at::Tensor& logits, const Routing& routing,
                           const at::Tensor& dweight_rows, bool norm_topk_prob,
                           const ProbabilityGrad& dprobability);

}  // namespace trireme::ops::cpu
