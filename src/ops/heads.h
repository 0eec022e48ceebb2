// From the fused projection to what attention reads, and back: RMSNorm of each query and key head
// (Qwen3), then rotary position embedding (Su et al. 2021) in Hugging Face's half-split form, in
// which dimension i pairs with i + D/2. One pass each way, fp32 inside.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace trireme::ops {

struct RotatedHeads {
  at::Tensor q, k;  // [S,H,D], [S,K,D], contiguous
};

struct HeadNorms {
  at::Tensor q, k;  // [D] each; both undefined in a model without q/k norm
  double eps = 0;
};

// qkv [S,(H+2K)D] (rows may be strided), cos and sin [S,D/2] fp32 -> new tensors; qkv stays as it
// is. Rounded to qkv's dtype after the norm and after the rotation.
RotatedHeads rotate_heads(const at::Tensor& qkv, int64_t heads, int64_t kv_heads,
                          const HeadNorms& norms, const at::Tensor& cos, const at::Tensor& sin);

// dq [S,H,D], dk and dv [S,K,D], their strides free but for D's -> every column of dqkv
// [S,(H+2K)D] contiguous. dq_norm, dk_norm fp32 [D] are added to, unless undefined: no norms, or
// frozen. qkv as the forward's; without norms it is not read and may be undefined. Deterministic.
void rotate_heads_backward(const at::Tensor& dq, const at::Tensor& dk, const at::Tensor& dv,
                           const at::Tensor& qkv, const HeadNorms& norms, const at::Tensor& cos,
                           const at::Tensor& sin, at::Tensor& dqkv, at::Tensor& dq_norm,
                           at::Tensor& dk_norm);

}  // namespace trireme::ops
