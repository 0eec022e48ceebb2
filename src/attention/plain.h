// Attention in plain products, for fp32 on CUDA: the library's kernels multiply in TF32 there, whose ten bits of scores
// cost percents of the loss where scores are large. Same contract as attention/block.h.
#pragma once

#include "attention/block.h"

namespace trireme::attention {

AttentionOutput plain_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, Mask mask,
                              double scale);
AttentionGradients plain_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                  const at::Tensor& v, const AttentionOutput& forward, Mask mask,
                                  double scale);

}  // namespace trireme::attention
