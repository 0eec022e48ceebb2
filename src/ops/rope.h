// Rotary position embedding (Su et al. 2021) in Hugging Face's half-split form: dimension i pairs
// with i + D/2.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <utility>

namespace trireme::ops {

// Angles' cosines and sines [S, D/2] fp32 for positions [S] int64 and inverse frequencies [D/2]
// fp32.
std::pair<at::Tensor, at::Tensor> rope_table(const at::Tensor& positions,
                                             const at::Tensor& inverse_frequencies);

// Rotates x [S,N,D] in place (token stride free, heads and D contiguous); inverse: by the negative
// angle, which is also the backward.
void rope_(at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool inverse = false);

}  // namespace trireme::ops
