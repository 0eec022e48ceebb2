// For the ops' entries: tensors as the kernels see them.
#pragma once

#include <ATen/core/Tensor.h>

#include "base/error.h"
#include "ops/kernels.h"

namespace trireme::ops {

// The kernels' name of an activation's dtype.
inline cuda::Dtype dtype_of(const at::Tensor& x) {
  TRIREME_CHECK(x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16,
                "activations are fp32 or bf16");
  return x.scalar_type() == at::kFloat ? cuda::Dtype::kFloat : cuda::Dtype::kBFloat16;
}

// True for CUDA, where fp32 and bf16 work; on CPU the kernels are fp32.
inline bool on_cuda(const at::Tensor& x) {
  if (x.is_cuda()) return true;
  TRIREME_CHECK(x.is_cpu() && x.scalar_type() == at::kFloat, "on CPU activations are fp32");
  return false;
}

inline const void* data_or_null(const at::Tensor& x) {
  return x.defined() ? x.const_data_ptr() : nullptr;
}
inline const float* floats_or_null(const at::Tensor& x) {
  return x.defined() ? x.const_data_ptr<float>() : nullptr;
}

}  // namespace trireme::ops
