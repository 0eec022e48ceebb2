// Cross-entropy over a tile of logits, with its gradient in place: no second [t,V] tensor on CPU.
#pragma once

#include <ATen/core/Tensor.h>

namespace trireme::ops {

// logits fp32 [t,V], targets int64 [t] in [0,V). Returns the fp32 0-dim sum of -log softmax at the
// targets.
at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets);

// The same, and logits becomes (softmax - onehot) * grad_scale.
at::Tensor cross_entropy_backward_(at::Tensor& logits, const at::Tensor& targets,
                                   double grad_scale);

}  // namespace trireme::ops
