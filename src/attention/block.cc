#include "attention/block.h"

#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/empty.h>

#include "attention/plain.h"
#include "base/error.h"

namespace trireme::attention {
namespace {

// [S,N,D] -> [1,N,S,D] and back, as views: kernels want heads outside, memory stays token-major.
at::Tensor heads_first(const at::Tensor& x) { return x.unsqueeze(0).transpose(1, 2); }
at::Tensor tokens_first(const at::Tensor& x) { return x.transpose(1, 2).squeeze(0); }

bool causal(Mask mask) { return mask == Mask::kCausal; }

AttentionOutput cpu_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, Mask mask,
                            double scale) {
  auto [out, lse] = at::_scaled_dot_product_flash_attention_for_cpu(
      heads_first(q), heads_first(k), heads_first(v), 0.0, causal(mask), {}, scale);
  return {tokens_first(out), lse.squeeze(0)};
}

AttentionGradients cpu_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                const at::Tensor& v, const AttentionOutput& forward, Mask mask,
                                double scale) {
  auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      heads_first(dout), heads_first(q), heads_first(k), heads_first(v), heads_first(forward.out),
      forward.lse.unsqueeze(0), 0.0, causal(mask), {}, scale);
  return {tokens_first(dq), tokens_first(dk), tokens_first(dv)};
}

AttentionOutput cudnn_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              Mask mask, double scale) {
  const auto result = at::_scaled_dot_product_cudnn_attention(
      heads_first(q), heads_first(k), heads_first(v), {}, true, 0.0, causal(mask), false, scale);
  return {tokens_first(std::get<0>(result)), std::get<1>(result).squeeze(3).squeeze(0)};
}

AttentionGradients cudnn_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                  const at::Tensor& v, const AttentionOutput& forward, Mask mask,
                                  double scale) {
  const at::Tensor no_rng = at::empty({}, q.options().dtype(at::kLong)).zero_();
  // A sliced log-sum-exp gives wrong gradients silently: it must be contiguous.
  auto [dq, dk, dv] = at::_scaled_dot_product_cudnn_attention_backward(
      heads_first(dout), heads_first(q), heads_first(k), heads_first(v), heads_first(forward.out),
      forward.lse.unsqueeze(0).unsqueeze(3).contiguous(), no_rng, no_rng, {}, {}, {}, q.size(0),
      k.size(0), 0.0, causal(mask), scale);
  return {tokens_first(dq), tokens_first(dk), tokens_first(dv)};
}

}  // namespace

AttentionOutput block_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              Mask mask, double scale) {
  TRIREME_CHECK(!causal(mask) || q.size(0) == k.size(0));
  if (q.is_cpu()) return cpu_forward(q, k, v, mask, scale);
  if (q.scalar_type() == at::kFloat) return plain_forward(q, k, v, mask, scale);
  return cudnn_forward(q, k, v, mask, scale);
}

AttentionGradients block_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                  const at::Tensor& v, const AttentionOutput& forward, Mask mask,
                                  double scale) {
  TRIREME_CHECK(!causal(mask) || q.size(0) == k.size(0));
  if (q.is_cpu()) return cpu_backward(dout, q, k, v, forward, mask, scale);
  if (q.scalar_type() == at::kFloat) {
    return plain_backward(dout, q, k, v, forward, mask, scale);
  }
  return cudnn_backward(dout, q, k, v, forward, mask, scale);
}

AttentionOutput varlen_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const at::Tensor& starts, int64_t longest, double scale) {
  const auto result = at::_flash_attention_forward(q, k, v, starts, starts, longest, longest, 0.0,
                                                   true, false, scale);
  return {std::get<0>(result), std::get<1>(result)};
}

AttentionGradients varlen_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                   const at::Tensor& v, const AttentionOutput& forward,
                                   const at::Tensor& starts, int64_t longest, double scale) {
  const at::Tensor no_rng = at::empty({0}, q.options().dtype(at::kUInt64));
  auto [dq, dk, dv] = at::_flash_attention_backward(
      dout, q, k, v, forward.out, forward.lse.contiguous(), starts, starts, longest, longest, 0.0,
      true, no_rng, no_rng, scale);
  return {dq, dk, dv};
}

}  // namespace trireme::attention
