// Dropout (Srivastava et al. 2014) whose mask is a function of the seed: never stored.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace trireme::ops {

// x [N,C] contiguous -> x * mask / (1 - p), p in [0,1): element i is kept or not by a hash of seed
// and i, the same on CPU and CUDA.
at::Tensor dropout(const at::Tensor& x, double p, uint64_t seed);

// The seed under which element 0 has the mask of element `first` under `seed`: for a tile of a
// longer tensor.
uint64_t dropout_seed(uint64_t seed, int64_t first);

// Its adjoint: dx [N,C] += du * mask / (1 - p), both contiguous.
void dropout_add_(at::Tensor& dx, const at::Tensor& du, double p, uint64_t seed);

}  // namespace trireme::ops
