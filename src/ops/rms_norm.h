// RMSNorm (Zhang and Sennrich 2019): y = x / sqrt(mean(x^2) + eps) * w, in fp32 inside, over the
// last dimension.
#pragma once

#include <ATen/core/Tensor.h>

namespace trireme::ops {

// x [N,C] (rows may be strided), w [C] -> y [N,C] contiguous, in x's dtype.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& w, double eps);

// dx [N,C] += the gradient through the norm (dx may be a residual's gradient already); dw fp32 [C]
// is added to, unless undefined: the weight is frozen. dy, x and dx may be row-strided.
// Deterministic: partial sums of dw are over fixed rows.
void rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& w, double eps,
                       at::Tensor& dx, at::Tensor& dw);

}  // namespace trireme::ops
