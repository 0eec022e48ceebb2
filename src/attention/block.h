// One block of attention: a range of queries against a range of keys, causal or full, forward with
// log-sum-exp and backward from the global (out, lse), so that blocks can be merged. The kernels
// behind it: ATen's flash attention on CPU; on CUDA FlashAttention-3 where it is installed (see
// flash3.h), else cuDNN for one dense document (1.6-1.9x FlashAttention-2 on Hopper) and
// FlashAttention-2 for packed documents; the memory-efficient kernel for fp32.
#pragma once

#include <string>

#include "attention/attention.h"

namespace trireme::attention {

enum class Mask { kCausal, kFull };

// q [Sq,H,D], k and v [Sk,K,D]. kCausal needs Sq == Sk (libraries disagree on the alignment of
// rectangles).
AttentionOutput block_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              Mask mask, double scale);
AttentionGradients block_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                  const at::Tensor& v, const AttentionOutput& forward, Mask mask,
                                  double scale);

// CUDA, bf16 or fp16: documents at int32 device offsets `starts` [n+1], the longest of `longest`
// tokens; causal.
AttentionOutput varlen_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const at::Tensor& starts, int64_t longest, double scale);
AttentionGradients varlen_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                   const at::Tensor& v, const AttentionOutput& forward,
                                   const at::Tensor& starts, int64_t longest, double scale);

// The heads that the kernels take have a size that is a multiple of this.
int64_t head_multiple(bool cuda, at::ScalarType dtype);

// What computes attention here, for the log.
std::string kernel_names(bool cuda, at::ScalarType dtype);

}  // namespace trireme::attention
