#include "ops/swiglu.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "ops/entry.h"
#include "ops/simd.h"

namespace trireme::ops {
namespace {

TRIREME_SIMD void forward_row(const float* gate, const float* up, float* a, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) a[i] = gate[i] / (1.0f + fast_exp(-gate[i])) * up[i];
}

// Returns sum of da a.
TRIREME_SIMD float backward_row(const float* da, float weight, const float* gate, const float* up,
                                float* dgate, float* dup, float* a, int64_t n) {
  float dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < n; ++i) {
    const float s = 1.0f / (1.0f + fast_exp(-gate[i]));
    const float silu = gate[i] * s, grad = da[i] * weight;
    dup[i] = grad * silu;
    dgate[i] = grad * up[i] * (s + silu * (1.0f - s));
    a[i] = silu * up[i];
    dot += da[i] * a[i];
  }
  return dot;
}

void forward_cpu(const at::Tensor& gate_up, at::Tensor& out) {
  const int64_t rows = out.size(0), width = out.size(1), stride = out.stride(0);
  const float* in = gate_up.const_data_ptr<float>();
  float* a = out.mutable_data_ptr<float>();
  at::parallel_for(0, rows, 4, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* gate = in + r * 2 * width;
      forward_row(gate, gate + width, a + r * stride, width);
    }
  });
}

void forward_cuda(const at::Tensor& gate_up, at::Tensor& out) {
  cuda::swiglu({.dtype = dtype_of(gate_up),
                .gate_up = gate_up.const_data_ptr(),
                .a = out.mutable_data_ptr(),
                .a_stride = out.stride(0),
                .rows = out.size(0),
                .width = out.size(1)});
}

at::Tensor backward_cpu(const at::Tensor& da, const at::Tensor& gate_up, at::Tensor* a,
                        const RowWeights* rows) {
  const int64_t width = da.size(1);
  at::Tensor d = at::empty_like(gate_up), forward = at::empty_like(da);
  const float* weight = rows ? rows->weight.const_data_ptr<float>() : nullptr;
  float* dweight = rows ? rows->dweight.mutable_data_ptr<float>() : nullptr;
  at::parallel_for(0, da.size(0), 4, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* gate = gate_up.const_data_ptr<float>() + r * 2 * width;
      float* grad = d.mutable_data_ptr<float>() + r * 2 * width;
      const float dot = backward_row(
          da.const_data_ptr<float>() + r * width, weight ? weight[r] : 1.0f, gate, gate + width,
          grad, grad + width, forward.mutable_data_ptr<float>() + r * width, width);
      if (dweight != nullptr) dweight[r] = dot;
    }
  });
  if (a != nullptr) *a = std::move(forward);
  return d;
}

at::Tensor backward_cuda(const at::Tensor& da, const at::Tensor& gate_up, at::Tensor* a,
                         const RowWeights* rows) {
  at::Tensor d = at::empty_like(gate_up);
  if (a != nullptr) *a = at::empty_like(da);
  cuda::swiglu_backward(
      {.dtype = dtype_of(gate_up),
       .da = da.const_data_ptr(),
       .gate_up = gate_up.const_data_ptr(),
       .dgate_up = d.mutable_data_ptr(),
       .a = a != nullptr ? a->mutable_data_ptr() : nullptr,
       .weight = rows != nullptr ? rows->weight.const_data_ptr<float>() : nullptr,
       .dweight = rows != nullptr ? rows->dweight.mutable_data_ptr<float>() : nullptr,
       .rows = da.size(0),
       .width = da.size(1)});
  return d;
}

}  // namespace

void swiglu(const at::Tensor& gate_up, at::Tensor out) {
  TRIREME_CHECK(gate_up.is_contiguous() && out.stride(1) == 1);
  TRIREME_CHECK(out.size(0) == gate_up.size(0) && 2 * out.size(1) == gate_up.size(1) &&
                out.scalar_type() == gate_up.scalar_type());
  if (out.numel() == 0) return;
  (on_cuda(gate_up) ? forward_cuda : forward_cpu)(gate_up, out);
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  at::Tensor a = at::empty({gate_up.size(0), gate_up.size(1) / 2}, gate_up.options());
  swiglu(gate_up, a);
  return a;
}

at::Tensor swiglu_backward(const at::Tensor& da, const at::Tensor& gate_up, at::Tensor* a,
                           const RowWeights* rows) {
  TRIREME_CHECK(gate_up.is_contiguous() && da.is_contiguous());
  TRIREME_CHECK(da.size(0) == gate_up.size(0) && 2 * da.size(1) == gate_up.size(1) &&
                da.scalar_type() == gate_up.scalar_type());
  if (rows != nullptr) {
    TRIREME_CHECK(rows->weight.is_contiguous() && rows->dweight.is_contiguous());
    TRIREME_CHECK(rows->weight.numel() == da.size(0) && rows->dweight.numel() == da.size(0));
  }
  if (da.numel() == 0) {
    if (a != nullptr) *a = at::empty_like(da);
    return at::empty_like(gate_up);
  }
  return (on_cuda(gate_up) ? backward_cuda : backward_cpu)(da, gate_up, a, rows);
}

}  // namespace trireme::ops
