// Copies of strided tensors in words of 16 bytes: torch's own move an element at a time, at a
// quarter of the memory's rate in bf16.
#pragma once

#include <ATen/core/Tensor.h>

namespace trireme::ops {

// x as it is, where it is contiguous, else a contiguous copy.
at::Tensor packed(const at::Tensor& x);
// to = from, of one shape and dtype; both may be strided.
void copy(const at::Tensor& to, const at::Tensor& from);

}  // namespace trireme::ops
