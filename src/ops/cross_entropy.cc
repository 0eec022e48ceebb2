#include "ops/cross_entropy.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "ops/entry.h"
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
  const float loss = std::log(sum) + (max - x[target]);
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

void cuda_loss(float* data, const at::Tensor& logits, const at::Tensor& targets,
               const double* grad_scale, at::ScalarType dtype, at::Tensor& loss) {
  const int64_t rows = logits.size(0);
  at::Tensor losses = at::empty({rows}, logits.options());
  cuda::cross_entropy({.dtype = dtype == at::kFloat ? cuda::Dtype::kFloat : cuda::Dtype::kBFloat16,
                       .logits = data,
                       .targets = targets.const_data_ptr<int64_t>(),
                       .losses = losses.mutable_data_ptr<float>(),
                       .backward = grad_scale != nullptr,
                       .grad_scale = grad_scale != nullptr ? static_cast<float>(*grad_scale) : 0.0f,
                       .rows = rows,
                       .width = logits.size(1)});
  cuda::add_sum(losses.const_data_ptr<float>(), rows, loss.mutable_data_ptr<float>());
}

void check(const at::Tensor& logits, const at::Tensor& targets) {
  TRIREME_CHECK(logits.scalar_type() == at::kFloat && logits.dim() == 2 && logits.is_contiguous());
  TRIREME_CHECK(targets.is_contiguous() && targets.numel() == logits.size(0));
}

}  // namespace

at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets) {
  check(logits, targets);
  float* data = const_cast<float*>(logits.const_data_ptr<float>());  // only read without a gradient
  if (logits.size(0) != 0 && !on_cuda(logits)) return cpu_loss(data, logits, targets, nullptr);
  at::Tensor loss = at::zeros({}, logits.options());
  if (logits.size(0) != 0) cuda_loss(data, logits, targets, nullptr, at::kFloat, loss);
  return loss;
}

at::Tensor cross_entropy_backward_(at::Tensor logits, const at::Tensor& targets, double grad_scale,
                                   at::ScalarType dtype, at::Tensor& loss) {
  check(logits, targets);
  TRIREME_CHECK(dtype == at::kFloat || dtype == at::kBFloat16);
  TRIREME_CHECK(loss.numel() == 1 && loss.scalar_type() == at::kFloat);
  float* data = logits.mutable_data_ptr<float>();
  const int64_t rows = logits.size(0), width = logits.size(1);
  if (on_cuda(logits)) {
    if (rows != 0) cuda_loss(data, logits, targets, &grad_scale, dtype, loss);
    if (dtype == at::kFloat) return logits;
    return logits.view(at::kBFloat16).narrow(1, 0, width);
  }
  TRIREME_CHECK(dtype == at::kFloat, "on CPU the gradient is fp32");
  if (rows != 0) loss.add_(cpu_loss(data, logits, targets, &grad_scale));
  return logits;
}

}  // namespace trireme::ops
