#include "attention/block.h"

#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>

#include <array>
#include <limits>

#include "attention/flash3.h"
#include "base/error.h"

namespace trireme::attention {
namespace {

// [S,N,D] -> [1,N,S,D] and back, as views: kernels want heads outside, memory stays token-major.
at::Tensor heads_first(const at::Tensor& x) { return x.unsqueeze(0).transpose(1, 2); }
at::Tensor tokens_first(const at::Tensor& x) { return x.transpose(1, 2).squeeze(0); }

bool causal(Mask mask) { return mask == Mask::kCausal; }

AttentionOutput cpu_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            Mask mask, double scale) {
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

AttentionGradients cudnn_backward_part(const at::Tensor& dout, const at::Tensor& q,
                                       const at::Tensor& k, const at::Tensor& v,
                                       const AttentionOutput& forward, Mask mask, double scale) {
  const at::Tensor no_rng = at::empty({}, q.options().dtype(at::kLong)).zero_();
  // A sliced log-sum-exp gives wrong gradients silently: it must be contiguous.
  auto [dq, dk, dv] = at::_scaled_dot_product_cudnn_attention_backward(
      heads_first(dout), heads_first(q), heads_first(k), heads_first(v), heads_first(forward.out),
      forward.lse.unsqueeze(0).unsqueeze(3).contiguous(), no_rng, no_rng, {}, {}, {}, q.size(0),
      k.size(0), 0.0, causal(mask), scale);
  return {tokens_first(dq), tokens_first(dk), tokens_first(dv)};
}

// The fewest groups of heads with at most 2^31 numbers of q each.
int64_t head_groups(const at::Tensor& q, int64_t kv_heads) {
  int64_t groups = 1;
  while (groups < kv_heads && (kv_heads % groups != 0 || q.numel() / groups > (int64_t{1} << 31))) {
    ++groups;
  }
  return groups;
}

// cuDNN's dq is silently wrong if it has more than 2^31 numbers (132,000 tokens x 128 heads x 128:
// 36 % off). Such a call is split into groups of heads.
AttentionGradients cudnn_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                  const at::Tensor& v, const AttentionOutput& forward, Mask mask,
                                  double scale) {
  const int64_t groups = head_groups(q, k.size(1));
  if (groups == 1) return cudnn_backward_part(dout, q, k, v, forward, mask, scale);
  AttentionGradients all{at::empty(q.sizes(), q.options()), at::empty(k.sizes(), k.options()),
                         at::empty(v.sizes(), v.options())};
  for (int64_t g = 0; g < groups; ++g) {
    const auto part = [&](const at::Tensor& x, int64_t dim) {
      return x.narrow(dim, g * (x.size(dim) / groups), x.size(dim) / groups);
    };
    const auto copy = [&](const at::Tensor& x) { return part(x, 1).contiguous(); };
    const AttentionGradients grads =
        cudnn_backward_part(copy(dout), copy(q), copy(k), copy(v),
                            {copy(forward.out), part(forward.lse, 0)}, mask, scale);
    part(all.dq, 1).copy_(grads.dq);
    part(all.dk, 1).copy_(grads.dk);
    part(all.dv, 1).copy_(grads.dv);
  }
  return all;
}

// The memory-efficient kernel does not support grouped heads: keys and values are repeated, and
// their gradients summed.
at::Tensor repeat_heads(const at::Tensor& x, int64_t times) {
  if (times == 1) return x;
  return x.unsqueeze(2).expand({x.size(0), x.size(1), times, x.size(2)}).flatten(1, 2);
}
at::Tensor sum_heads(const at::Tensor& x, int64_t times) {
  return times == 1 ? x : x.unflatten(1, {x.size(1) / times, times}).sum(2);
}

AttentionOutput efficient_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  Mask mask, double scale) {
  const int64_t times = q.size(1) / k.size(1);
  const auto result = at::_scaled_dot_product_efficient_attention(
      heads_first(q), heads_first(repeat_heads(k, times)), heads_first(repeat_heads(v, times)), {},
      true, 0.0, causal(mask), scale);
  return {tokens_first(std::get<0>(result)),
          std::get<1>(result).squeeze(0).narrow(1, 0, q.size(0)).contiguous()};
}

AttentionGradients efficient_backward(const at::Tensor& dout, const at::Tensor& q,
                                      const at::Tensor& k, const at::Tensor& v,
                                      const AttentionOutput& forward, Mask mask, double scale) {
  const int64_t times = q.size(1) / k.size(1);
  const int64_t padding = (32 - q.size(0) % 32) % 32;  // the kernel reads rows of 32
  const at::Tensor lse =
      at::constant_pad_nd(forward.lse, {0, padding}, std::numeric_limits<double>::infinity());
  const at::Tensor no_rng = at::empty({}, at::TensorOptions().dtype(at::kLong)).zero_();
  const auto grads = at::_scaled_dot_product_efficient_attention_backward(
      heads_first(dout), heads_first(q), heads_first(repeat_heads(k, times)),
      heads_first(repeat_heads(v, times)), {}, heads_first(forward.out), lse.unsqueeze(0), no_rng,
      no_rng, 0.0, {true, true, true, false}, causal(mask), scale);
  return {tokens_first(std::get<0>(grads)), sum_heads(tokens_first(std::get<1>(grads)), times),
          sum_heads(tokens_first(std::get<2>(grads)), times)};
}

}  // namespace

// 16 bytes. Of libtorch 2.11 on an H200, the memory-efficient kernel refuses heads of 10 and takes
// those of 12 in fp32; cuDNN and FlashAttention refuse 12 and 20 and take 24 in bf16.
int64_t head_multiple(bool cuda, at::ScalarType dtype) {
  return cuda ? 16 / static_cast<int64_t>(c10::elementSize(dtype)) : 1;
}

std::string kernel_names(bool cuda, at::ScalarType dtype) {
  if (!cuda) return "ATen (CPU)";
  if (dtype == at::kFloat) return "memory-efficient (fp32)";
  return flash3::available() ? "FlashAttention-3" : "cuDNN, packed FlashAttention-2";
}

AttentionOutput block_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              Mask mask, double scale) {
  TRIREME_CHECK(!causal(mask) || q.size(0) == k.size(0));
  if (q.is_cpu()) return cpu_forward(q, k, v, mask, scale);
  if (q.scalar_type() == at::kFloat) return efficient_forward(q, k, v, mask, scale);
  if (flash3::usable(q)) return flash3::forward(q, k, v, mask, scale);
  return cudnn_forward(q, k, v, mask, scale);
}

AttentionGradients block_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                  const at::Tensor& v, const AttentionOutput& forward, Mask mask,
                                  double scale) {
  TRIREME_CHECK(!causal(mask) || q.size(0) == k.size(0));
  if (q.is_cpu()) return cpu_backward(dout, q, k, v, forward, mask, scale);
  if (q.scalar_type() == at::kFloat) {
    return efficient_backward(dout, q, k, v, forward, mask, scale);
  }
  if (flash3::usable(q)) return flash3::backward(dout, q, k, v, forward, mask, scale);
  return cudnn_backward(dout, q, k, v, forward, mask, scale);
}

AttentionOutput varlen_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const at::Tensor& starts, int64_t longest, double scale) {
  if (flash3::usable(q)) return flash3::varlen_forward(q, k, v, starts, longest, scale);
  const auto result = at::_flash_attention_forward(q, k, v, starts, starts, longest, longest, 0.0,
                                                   true, false, scale);
  return {std::get<0>(result), std::get<1>(result)};
}

AttentionGradients varlen_backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                                   const at::Tensor& v, const AttentionOutput& forward,
                                   const at::Tensor& starts, int64_t longest, double scale) {
  if (flash3::usable(q)) {
    return flash3::varlen_backward(dout, q, k, v, forward, starts, longest, scale);
  }
  const at::Tensor no_rng = at::empty({0}, q.options().dtype(at::kUInt64));
  auto [dq, dk, dv] =
      at::_flash_attention_backward(dout, q, k, v, forward.out, forward.lse.contiguous(), starts,
                                    starts, longest, longest, 0.0, true, no_rng, no_rng, scale);
  return {dq, dk, dv};
}

}  // namespace trireme::attention
