#include "ops/swiglu.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>

#include "base/error.h"
#include "ops/simd.h"

namespace trireme::ops {
namespace {

TRIREME_SIMD void forward_row(const float* gate, const float* up, float* a, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) a[i] = gate[i] / (1.0f + fast_exp(-gate[i])) * up[i];
}

TRIREME_SIMD void backward_row(const float* da, const float* gate, const float* up, float* dgate,
                               float* dup, float* a, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float s = 1.0f / (1.0f + fast_exp(-gate[i]));
    const float silu = gate[i] * s;
    dup[i] = da[i] * silu;
    dgate[i] = da[i] * up[i] * (s + silu * (1.0f - s));
    a[i] = silu * up[i];
  }
}

}  // namespace

at::Tensor swiglu(const at::Tensor& gate_up) {
  TRIREME_CHECK(gate_up.is_contiguous());
  const int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
  if (!gate_up.is_cpu() || gate_up.scalar_type() != at::kFloat) {
    const at::Tensor gate = gate_up.narrow(1, 0, width).to(at::kFloat);
    return (at::silu(gate) * gate_up.narrow(1, width, width)).to(gate_up.scalar_type());
  }
  at::Tensor a = at::empty({rows, width}, gate_up.options());
  const float* in = gate_up.const_data_ptr<float>();
  float* out = a.mutable_data_ptr<float>();
  at::parallel_for(0, rows, 4, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* gate = in + r * 2 * width;
      forward_row(gate, gate + width, out + r * width, width);
    }
  });
  return a;
}

at::Tensor swiglu_backward(const at::Tensor& da, const at::Tensor& gate_up, at::Tensor* a) {
  TRIREME_CHECK(gate_up.is_contiguous() && da.is_contiguous());
  const int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
  at::Tensor d = at::empty_like(gate_up);
  if (!gate_up.is_cpu() || gate_up.scalar_type() != at::kFloat) {
    const at::Tensor gate = gate_up.narrow(1, 0, width).to(at::kFloat);
    const at::Tensor up = gate_up.narrow(1, width, width).to(at::kFloat);
    const at::Tensor s = at::sigmoid(gate), silu = gate * s, grad = da.to(at::kFloat);
    d.narrow(1, width, width).copy_(grad * silu);
    d.narrow(1, 0, width).copy_(grad * up * (s + silu * (1 - s)));
    if (a != nullptr) *a = (silu * up).to(gate_up.scalar_type());
    return d;
  }
  at::Tensor forward = at::empty({rows, width}, gate_up.options());
  at::parallel_for(0, rows, 4, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* gate = gate_up.const_data_ptr<float>() + r * 2 * width;
      float* grad = d.mutable_data_ptr<float>() + r * 2 * width;
      backward_row(da.const_data_ptr<float>() + r * width, gate, gate + width, grad, grad + width,
                   forward.mutable_data_ptr<float>() + r * width, width);
    }
  });
  if (a != nullptr) *a = std::move(forward);
  return d;
}

}  // namespace trireme::ops
