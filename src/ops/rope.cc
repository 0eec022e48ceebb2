#include "ops/rope.h"

#include <ATen/Parallel.h>

#include "base/error.h"
#include "ops/simd.h"

namespace trireme::ops {
namespace {

TRIREME_SIMD void rotate(float* x, const float* cos, const float* sin, float sign, int64_t half) {
  float* y = x + half;
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[i], b = y[i], s = sign * sin[i];
    x[i] = a * cos[i] - b * s;
    y[i] = b * cos[i] + a * s;
  }
}

void rope_cpu(at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, float sign) {
  const int64_t heads = x.size(1), dim = x.size(2), half = dim / 2;
  float* data = x.mutable_data_ptr<float>();
  const int64_t stride = x.stride(0);
  at::parallel_for(0, x.size(0), 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* c = cos.const_data_ptr<float>() + t * half;
      const float* s = sin.const_data_ptr<float>() + t * half;
      for (int64_t h = 0; h < heads; ++h) rotate(data + t * stride + h * dim, c, s, sign, half);
    }
  });
}

}  // namespace

std::pair<at::Tensor, at::Tensor> rope_table(const at::Tensor& positions,
                                             const at::Tensor& inverse_frequencies) {
  // fp32 products, as the models were trained with.
  const at::Tensor angles = positions.to(at::kFloat).unsqueeze(1) *
                            inverse_frequencies.to(positions.device()).unsqueeze(0);
  return {angles.cos(), angles.sin()};
}

void rope_(at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool inverse) {
  TRIREME_CHECK(x.dim() == 3 && x.stride(2) == 1 && x.stride(1) == x.size(2));
  const float sign = inverse ? -1.0f : 1.0f;
  if (x.is_cpu() && x.scalar_type() == at::kFloat) return rope_cpu(x, cos, sin, sign);
  const int64_t half = x.size(2) / 2;
  at::Tensor low = x.narrow(2, 0, half), high = x.narrow(2, half, half);
  const at::Tensor a = low.to(at::kFloat), b = high.to(at::kFloat);
  const at::Tensor c = cos.unsqueeze(1), s = sin.unsqueeze(1) * sign;
  const at::Tensor rotated = a * c - b * s;  // before low is written: in fp32 `a` is low itself
  high.copy_(b * c + a * s);
  low.copy_(rotated);
}

}  // namespace trireme::ops
