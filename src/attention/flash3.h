// FlashAttention-3 (Shah et al. 2024, arXiv 2407.08608) for Hopper, as the xformers wheel builds
// it. It is no part of libtorch: where `xformers/flash_attn_3/_C.so` stands beside torch it is
// loaded at the first use, and its operators are called through the dispatcher. On an H100 (bf16,
// 32:8 heads of 128, causal, forward / backward, TFLOP/s, cuDNN beside it): 8K tokens 702 / 526 and
// 572 / 465, 128K tokens 682 / 610 and 560 / 536; packed documents of 4,096 tokens 620 / 436
// against FlashAttention-2's 329 / 276.
#pragma once

#include "attention/block.h"

namespace trireme::attention::flash3 {

// Whether the library is here and loads; the first call looks for it and logs what it cannot load.
bool available();

// Whether it computes on such heads: bf16 or fp16 on CUDA, D a multiple of 8 up to 256.
bool usable(const at::Tensor& q);

// One block: q [Sq,H,D], k and v [Sk,K,D], any strides with a last one of 1.
AttentionOutput forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, Mask mask,
                        double scale);
AttentionGradients backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const AttentionOutput& forward, Mask mask,
                            double scale);

// Documents at int32 device offsets `starts` [n+1], the longest of `longest` tokens; causal.
AttentionOutput varlen_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const at::Tensor& starts, int64_t longest, double scale);
AttentionGradients varlen_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                   const at::Tensor& v, const AttentionOutput& forward,
                                   const at::Tensor& starts, int64_t longest, double scale);

}  // namespace trireme::attention::flash3
