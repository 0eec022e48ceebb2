#include "model/head.h"

#include <ATen/ops/zeros.h>

#include <algorithm>

#include "ops/cross_entropy.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"

namespace trireme::model {

at::Tensor head_loss(const config::ModelSpec& spec, const at::Tensor& x, const HeadParams& weights,
                     const TrainedRows& trained, int64_t tile) {
  at::Tensor sum = at::zeros({}, x.options().dtype(at::kFloat));
  const int64_t rows = trained.rows.size(0);
  for (int64_t first = 0; first < rows; first += tile) {
    const int64_t count = std::min(tile, rows - first);
    const at::Tensor hidden = x.index_select(0, trained.rows.narrow(0, first, count));
    const at::Tensor logits =
        ops::linear_fp32(ops::rms_norm(hidden, weights.norm, spec.rms_norm_eps), weights.head);
    sum.add_(ops::cross_entropy(logits, trained.targets.narrow(0, first, count)));
  }
  return sum;
}

HeadBackward head_loss_backward(const config::ModelSpec& spec, const at::Tensor& x,
                                const HeadParams& weights, HeadParams& grads,
                                const TrainedRows& trained, double grad_scale, int64_t tile) {
  HeadBackward result{at::zeros({}, x.options().dtype(at::kFloat)),
                      at::zeros(x.sizes(), x.options())};
  const int64_t rows = trained.rows.size(0);
  if (rows == 0 && grads.overwrite) grads.head.zero_();
  for (int64_t first = 0; first < rows; first += tile) {
    const int64_t count = std::min(tile, rows - first);
    const at::Tensor index = trained.rows.narrow(0, first, count);
    const at::Tensor hidden = x.index_select(0, index);
    const at::Tensor normed = ops::rms_norm(hidden, weights.norm, spec.rms_norm_eps);
    const at::Tensor dlogits = ops::cross_entropy_backward_(
        ops::linear_fp32(normed, weights.head), trained.targets.narrow(0, first, count), grad_scale,
        x.scalar_type(), result.loss);
    if (grads.head.defined()) {
      ops::accumulate_weight_grad(grads.head, dlogits, normed, 1,
                                  std::exchange(grads.overwrite, false));
    }
    at::Tensor dhidden = at::zeros(hidden.sizes(), hidden.options());
    ops::rms_norm_backward(ops::matmul(dlogits, weights.head), hidden, weights.norm,
                           spec.rms_norm_eps, dhidden, grads.norm);
    result.dx.index_copy_(0, index, dhidden);
  }
  return result;
}

at::Tensor head_logits(const config::ModelSpec& spec, const at::Tensor& x,
                       const HeadParams& weights) {
  return ops::linear_fp32(ops::rms_norm(x, weights.norm, spec.rms_norm_eps), weights.head);
}

}  // namespace trireme::model
