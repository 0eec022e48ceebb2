// Matrix products on CUDA through cuBLASLt, which unlike ATen's operators adds a matrix that is not
// the result without copying it there first, and reads and writes strided rows as they are.
// A residual is added in the product's epilogue, without a copy of it. The first product of a
// gradient overwrites its accumulator instead of adding to zeros. The fastest candidate of each
// shape is found in the first step.
#pragma once

#include <ATen/core/Tensor.h>

namespace trireme::ops::cuda {

// d [M,N] = alpha * a [M,K] b [K,N] + beta * c [M,N], summed in fp32. a and b: bf16 or fp32, either
// dimension contiguous (a transposed view is read as it is); c and d: rows may be strided, one
// dtype, that of a or fp32; c may be d, and is not read when beta is 0. No synchronisation.
//
// For each new combination of shapes the fastest of cuBLASLt's candidates is timed once, and
// remembered for the process: its own first choice is up to 8 % slower where the device is at its
// power limit. Under deterministic algorithms the first choice is taken, since clocks are not
// repeatable; so it is where there is no room to try.
void gemm(const at::Tensor& a, const at::Tensor& b, const at::Tensor& c, const at::Tensor& d,
          double alpha = 1, double beta = 0);

}  // namespace trireme::ops::cuda
