#include "ops/rms_norm.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <vector>

#include "ops/entry.h"
#include "ops/simd.h"

namespace trireme::ops {
namespace {

constexpr int64_t kRowGrain = 16;
constexpr int64_t kPartials =
    32;  // row ranges of dw's partial sums: fixed, so that threads do not change bits

TRIREME_SIMD void backward_row(const float* dy, const float* x, const float* w, float rstd,
                               float* dx, float* dw, int64_t n) {
  float dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < n; ++i) dot += dy[i] * w[i] * x[i];
  const float shift = dot * rstd * rstd * rstd / static_cast<float>(n);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) dx[i] += dy[i] * w[i] * rstd - x[i] * shift;
  if (dw == nullptr) return;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) dw[i] += dy[i] * x[i] * rstd;
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
  at::Tensor partial;
  if (dw.defined()) partial = at::zeros({ranges, n}, dw.options());
  at::parallel_for(0, ranges, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      float* sums = dw.defined() ? partial.mutable_data_ptr<float>() + p * n : nullptr;
      for (int64_t r = rows * p / ranges; r < rows * (p + 1) / ranges; ++r) {
        const float* row = x.const_data_ptr<float>() + r * x.stride(0);
        backward_row(dy.const_data_ptr<float>() + r * dy.stride(0), row, w.const_data_ptr<float>(),
                     reciprocal_rms(row, n, eps), dx.mutable_data_ptr<float>() + r * dx.stride(0),
                     sums, n);
      }
    }
  });
  if (dw.defined()) dw.add_(partial.sum(0));
}

at::Tensor forward_cuda(const at::Tensor& x, const at::Tensor& w, float eps) {
  at::Tensor y = at::empty(x.sizes(), x.options());
  cuda::rms_norm({.dtype = dtype_of(x),
                  .x = x.const_data_ptr(),
                  .x_stride = x.stride(0),
                  .w = w.const_data_ptr(),
                  .y = y.mutable_data_ptr(),
                  .rows = x.size(0),
                  .width = x.size(1),
                  .eps = eps});
  return y;
}

void backward_cuda(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& w, float eps,
                   at::Tensor& dx, at::Tensor& dw) {
  const int64_t rows = x.size(0), n = x.size(1), ranges = std::min(rows, cuda::kNormPartials);
  at::Tensor partial;
  if (dw.defined()) partial = at::empty({ranges, n}, dw.options());
  cuda::rms_norm_backward({.dtype = dtype_of(x),
                           .dy = dy.const_data_ptr(),
                           .dy_stride = dy.stride(0),
                           .x = x.const_data_ptr(),
                           .x_stride = x.stride(0),
                           .w = w.const_data_ptr(),
                           .dx = dx.mutable_data_ptr(),
                           .dx_stride = dx.stride(0),
                           .partial = dw.defined() ? partial.mutable_data_ptr<float>() : nullptr,
                           .rows = rows,
                           .width = n,
                           .eps = eps});
  if (!dw.defined()) return;
  cuda::add_column_sums({.partial = partial.const_data_ptr<float>(),
                         .stride = n,
                         .rows = ranges,
                         .columns = n,
                         .out = dw.mutable_data_ptr<float>()});
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& w, double eps) {
  TRIREME_CHECK(x.dim() == 2 && x.stride(1) == 1 && w.is_contiguous());
  TRIREME_CHECK(w.numel() == x.size(1) && w.scalar_type() == x.scalar_type());
  if (x.size(0) == 0) return at::empty(x.sizes(), x.options());
  return (on_cuda(x) ? forward_cuda : forward_cpu)(x, w, static_cast<float>(eps));
}

void rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& w, double eps,
                       at::Tensor& dx, at::Tensor& dw) {
  TRIREME_CHECK(dy.stride(1) == 1 && x.stride(1) == 1 && dx.stride(1) == 1 && w.is_contiguous());
  TRIREME_CHECK(dy.sizes() == x.sizes() && dx.sizes() == x.sizes() && w.numel() == x.size(1));
  TRIREME_CHECK(dy.scalar_type() == x.scalar_type() && dx.scalar_type() == x.scalar_type() &&
                w.scalar_type() == x.scalar_type());
  TRIREME_CHECK(!dw.defined() || (dw.is_contiguous() && dw.numel() == x.size(1)));
  if (x.size(0) == 0) return;
  (on_cuda(x) ? backward_cuda : backward_cpu)(dy, x, w, static_cast<float>(eps), dx, dw);
}

}  // namespace trireme::ops
