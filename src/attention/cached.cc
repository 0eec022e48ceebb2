#include "attention/cached.h"

#include <ATen/ops/empty.h>

#include "attention/block.h"
#include "base/error.h"

namespace trireme::attention {

AttentionOutput CachedAttention::forward(const at::Tensor& q, const at::Tensor& k,
                                         const at::Tensor& v) {
  const int64_t tokens = q.size(0);
  TRIREME_CHECK(length_ + tokens <= capacity_ && (length_ == 0 || tokens == 1));
  if (length_ == 0) {
    keys_ = at::empty({capacity_, k.size(1), k.size(2)}, k.options());
    values_ = at::empty({capacity_, v.size(1), v.size(2)}, v.options());
  }
  keys_.narrow(0, length_, tokens).copy_(k);
  values_.narrow(0, length_, tokens).copy_(v);
  length_ += tokens;
  const Mask mask = tokens == length_ ? Mask::kCausal : Mask::kFull;
  return block_forward(q, keys_.narrow(0, 0, length_), values_.narrow(0, 0, length_), mask, scale_);
}

AttentionGradients CachedAttention::backward(const at::Tensor&, const at::Tensor&,
                                             const at::Tensor&, const at::Tensor&,
                                             const AttentionOutput&) {
  TRIREME_CHECK(false, "generation has no backward");
  return {};
}

}  // namespace trireme::attention
