// Cross-entropy over a tile of logits, with its gradient in the logits' own storage: no second
// [N,V] tensor.
#pragma once

#include <ATen/core/Tensor.h>

namespace trireme::ops {

// logits fp32 [N,V] contiguous, targets int64 [N] in [0,V). Returns the fp32 0-dim sum of -log
// softmax at the targets. Rows are summed in a fixed order.
at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets);

// The same, added to `loss` (0-dim fp32), and the gradient (softmax - onehot) * grad_scale [N,V] in
// `dtype`, fp32 or (on CUDA) bf16. It lives in the logits' storage, which is not logits any more: a
// bf16 row is the first half of the fp32 row, so that the result has row stride 2V.
at::Tensor cross_entropy_backward_(at::Tensor logits, const at::Tensor& targets, double grad_scale,
                                   at::ScalarType dtype, at::Tensor& loss);

}  // namespace trireme::ops
