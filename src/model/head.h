// Final norm, vocabulary projection and cross-entropy in one pass over tiles of rows: no [S,V]
// tensor exists. Only rows that are trained on are projected.
#pragma once

#include <ATen/core/Tensor.h>

#include "config/model_spec.h"
#include "model/params.h"

namespace trireme::model {

// Which rows of x are trained on and their targets, both int64 [N] on the device.
struct TrainedRows {
  at::Tensor rows;
  at::Tensor targets;
};

// Sum of the losses (fp32, 0-dim).
at::Tensor head_loss(const config::ModelSpec& spec, const at::Tensor& x, const HeadParams& weights,
                     const TrainedRows& trained, int64_t tile);

struct HeadBackward {
  at::Tensor loss;  // fp32, 0-dim sum
  at::Tensor dx;    // [S,C] of loss * grad_scale
};
// Gradients are added to `grads` where it is defined.
HeadBackward head_loss_backward(const config::ModelSpec& spec, const at::Tensor& x,
                                const HeadParams& weights, HeadParams& grads,
                                const TrainedRows& trained, double grad_scale, int64_t tile);

// fp32 logits [S,V] of all rows: for comparisons and generation, not for long sequences.
at::Tensor head_logits(const config::ModelSpec& spec, const at::Tensor& x,
                       const HeadParams& weights);

}  // namespace trireme::model
