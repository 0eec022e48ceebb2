#include "ops/rms_norm.h"

#include <ATen/Parallel.h>
#include <ATen/ops/_fused_rms_norm.h>
#include <ATen/ops/_fused_rms_norm_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "ops/simd.h"

namespace trireme::ops {
namespace {

constexpr int64_t kRowGrain = 16;
constexpr int64_t kPartials =
    32;  // row ranges of dw's partial sums: fixed, so that threads do not change bits

TRIREME_SIMD float reciprocal_rms(const float* x, int64_t n, float eps) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += x[i] * x[i];
  return 1.0f / std::sqrt(sum / static_cast<float>(n) + eps);
}

TRIREME_SIMD void scale_row(const float* x, const float* w, float scale, float* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * scale * w[i];
}

TRIREME_SIMD void backward_row(const float* dy, const float* x, const float* w, float rstd,
                               float* dx, float* dw, int64_t n) {
  float dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < n; ++i) dot += dy[i] * w[i] * x[i];
  const float shift = dot * rstd * rstd * rstd / static_cast<float>(n);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    dx[i] += dy[i] * w[i] * rstd - x[i] * shift;
    dw[i] += dy[i] * x[i] * rstd;
  }
}

at::Tensor forward_cpu(const at::Tensor& x, const at::Tensor& w, float eps) {
  const int64_t rows = x.size(0), n = x.size(1), stride = x.stride(0);
  at::Tensor y = at::empty({rows, n}, x.options());
  const float* in = x.const_data_ptr<float>();
  const float* weight = w.const_data_ptr<float>();
  float* out = y.mutable_data_ptr<float>();
  at::parallel_for(0, rows, kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* row = in + r * stride;
      scale_row(row, weight, reciprocal_rms(row, n, eps), out + r * n, n);
    }
  });
  return y;
}

void backward_cpu(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& w, float eps,
                  at::Tensor& dx, at::Tensor& dw) {
  const int64_t rows = x.size(0), n = x.size(1);
  const int64_t ranges = std::min(rows, kPartials);
  at::Tensor partial = at::zeros({ranges, n}, dw.options());
  at::parallel_for(0, ranges, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      for (int64_t r = rows * p / ranges; r < rows * (p + 1) / ranges; ++r) {
        const float* row = x.const_data_ptr<float>() + r * x.stride(0);
        backward_row(dy.const_data_ptr<float>() + r * dy.stride(0), row, w.const_data_ptr<float>(),
                     reciprocal_rms(row, n, eps), dx.mutable_data_ptr<float>() + r * dx.stride(0),
                     partial.mutable_data_ptr<float>() + p * n, n);
      }
    }
  });
  dw.add_(partial.sum(0));
}

bool cpu_float(const at::Tensor& x) { return x.is_cpu() && x.scalar_type() == at::kFloat; }

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& w, double eps) {
  TRIREME_CHECK(x.dim() == 2 && x.stride(1) == 1);
  if (cpu_float(x)) return forward_cpu(x, w, static_cast<float>(eps));
  return std::get<0>(at::_fused_rms_norm(x, {x.size(1)}, w, eps));
}

void rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& w, double eps,
                       at::Tensor& dx, at::Tensor& dw) {
  TRIREME_CHECK(dy.stride(1) == 1 && x.stride(1) == 1 && dx.stride(1) == 1);
  if (cpu_float(x)) return backward_cpu(dy, x, w, static_cast<float>(eps), dx, dw);
  TRIREME_CHECK(x.is_cuda(), "RMSNorm on CPU is fp32");
  const at::Tensor rows = x.contiguous();
  const at::Tensor rstd = (rows.to(at::kFloat).square().mean(1, true) + eps).rsqrt();
  auto [grad_x, grad_w] =
      at::_fused_rms_norm_backward(dy.contiguous(), rows, {x.size(1)}, rstd, w, {true, true});
  dx.add_(grad_x);
  dw.add_(grad_w);
}

}  // namespace trireme::ops
