// The angles of rotary position embedding (Su et al. 2021); ops/heads.h applies them.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

namespace trireme::ops {

// Angles' cosines and sines [S, D/2] fp32, times `scale`, for positions [S] int64 and inverse
// frequencies fp32: [D/2], or each row's own [S, D/2].
std::pair<at::Tensor, at::Tensor> rope_table(const at::Tensor& positions,
                                             const at::Tensor& inverse_frequencies,
                                             double scale = 1);

}  // namespace trireme::ops
