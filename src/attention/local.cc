#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>

#include "attention/block.h"
#include "attention/flash3.h"
#include "base/error.h"
#include "ops/to_device.h"

namespace trireme::attention {
namespace {

// Without FlashAttention-3, a single document shorter than this uses FlashAttention-2: cuDNN has 36
// + 89 us of overhead a call (32 heads, H200: 256 tokens 125 us against 84, 512 tokens 135 against
// 103, 1024 tokens 148 against 227, 4096 tokens 1042 against 1950).
constexpr int64_t kDense = 1024;

// Documents one after another: on CPU, where a kernel call costs little, and for fp32 on CUDA. No
// kernel knows batches without rows.
bool by_document(const at::Tensor& q) {
  return q.is_cpu() || q.scalar_type() == at::kFloat || q.size(0) == 0;
}

}  // namespace

LocalAttention::LocalAttention(std::vector<int64_t> starts, const at::Device& device, double scale)
    : starts_(std::move(starts)), scale_(scale) {
  for (size_t i = 1; i < starts_.size(); ++i) {
    longest_ = std::max(longest_, starts_[i] - starts_[i - 1]);
  }
  dense_ = starts_.size() == 2 && (!device.is_cuda() || longest_ >= kDense || flash3::available());
  if (device.is_cuda() && !dense_) {
    device_starts_ = ops::to_device(starts_, device, at::kInt);
  }
}

AttentionOutput LocalAttention::forward(const at::Tensor& q, const at::Tensor& k,
                                        const at::Tensor& v) {
  TRIREME_CHECK(starts_.back() == q.size(0));
  if (dense_) return block_forward(q, k, v, Mask::kCausal, scale_);
  if (!by_document(q)) return varlen_forward(q, k, v, device_starts_, longest_, scale_);
  AttentionOutput all{at::empty(q.sizes(), q.options()),
                      at::empty({q.size(1), q.size(0)}, q.options().dtype(at::kFloat))};
  for (size_t i = 1; i < starts_.size(); ++i) {
    const int64_t first = starts_[i - 1], length = starts_[i] - first;
    const AttentionOutput part =
        block_forward(q.narrow(0, first, length), k.narrow(0, first, length),
                      v.narrow(0, first, length), Mask::kCausal, scale_);
    all.out.narrow(0, first, length).copy_(part.out);
    all.lse.narrow(1, first, length).copy_(part.lse);
  }
  return all;
}

AttentionGradients LocalAttention::backward(const at::Tensor& dout, const at::Tensor& q,
                                            const at::Tensor& k, const at::Tensor& v,
                                            const AttentionOutput& forward) {
  if (dense_) {
    return block_backward(dout, q, k, v, forward, Mask::kCausal, scale_);
  }
  if (!by_document(q)) {
    return varlen_backward(dout, q, k, v, forward, device_starts_, longest_, scale_);
  }
  AttentionGradients all{at::empty(q.sizes(), q.options()), at::empty(k.sizes(), k.options()),
                         at::empty(v.sizes(), v.options())};
  for (size_t i = 1; i < starts_.size(); ++i) {
    const int64_t first = starts_[i - 1], length = starts_[i] - first;
    const auto rows = [&](const at::Tensor& x) { return x.narrow(0, first, length); };
    const AttentionGradients part =
        block_backward(rows(dout), rows(q), rows(k), rows(v),
                       {rows(forward.out), forward.lse.narrow(1, first, length).contiguous()},
                       Mask::kCausal, scale_);
    rows(all.dq).copy_(part.dq);
    rows(all.dk).copy_(part.dk);
    rows(all.dv).copy_(part.dv);
  }
  return all;
}

}  // namespace trireme::attention
