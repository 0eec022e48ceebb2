#include "ops/cross_entropy.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/logsumexp.h>

#include "base/error.h"
#include "ops/simd.h"

namespace trireme::ops {
namespace {

TRIREME_SIMD float row_max(const float* x, int64_t n) {
  float best = x[0];
#pragma omp simd reduction(max : best)
  for (int64_t i = 0; i < n; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

TRIREME_SIMD float sum_exp(const float* x, float max, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += fast_exp(x[i] - max);
  return sum;
}

TRIREME_SIMD void softmax_row(float* x, float max, float scale, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) x[i] = fast_exp(x[i] - max) * scale;
}

// One row's loss; with a gradient the row is overwritten.
float row_loss(float* x, int64_t n, int64_t target, const double* grad_scale) {
  const float max = row_max(x, n);
  const float sum = sum_exp(x, max, n);
  const float loss = std::log(sum) + max - x[target];
  if (grad_scale != nullptr) {
    softmax_row(x, max, static_cast<float>(*grad_scale / sum), n);
    x[target] -= static_cast<float>(*grad_scale);
  }
  return loss;
}

at::Tensor cpu_loss(float* data, const at::Tensor& logits, const at::Tensor& targets,
                    const double* grad_scale) {
  const int64_t rows = logits.size(0), n = logits.size(1);
  at::Tensor losses = at::empty({rows}, logits.options());
  float* out = losses.mutable_data_ptr<float>();
  const int64_t* target = targets.const_data_ptr<int64_t>();
  at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      out[r] = row_loss(data + r * n, n, target[r], grad_scale);
    }
  });
  return losses.sum();
}

}  // namespace

at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets) {
  TRIREME_CHECK(logits.scalar_type() == at::kFloat && logits.is_contiguous());
  if (logits.is_cpu()) {
    return cpu_loss(const_cast<float*>(logits.const_data_ptr<float>()), logits, targets, nullptr);
  }
  return (at::logsumexp(logits, {1}) - logits.gather(1, targets.unsqueeze(1)).squeeze(1)).sum();
}

at::Tensor cross_entropy_backward_(at::Tensor& logits, const at::Tensor& targets,
                                   double grad_scale) {
  TRIREME_CHECK(logits.scalar_type() == at::kFloat && logits.is_contiguous());
  if (logits.is_cpu()) {
    return cpu_loss(logits.mutable_data_ptr<float>(), logits, targets, &grad_scale);
  }
  const at::Tensor lse = at::logsumexp(logits, {1}, true);
  const at::Tensor index = targets.unsqueeze(1);
  at::Tensor loss = (lse - logits.gather(1, index)).sum();
  logits.sub_(lse).exp_();
  logits.scatter_add_(1, index, at::empty({logits.size(0), 1}, logits.options()).fill_(-1.0));
  logits.mul_(grad_scale);
  return loss;
}

}  // namespace trireme::ops
