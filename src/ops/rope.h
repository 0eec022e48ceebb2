// The angles of rotary position embedding (Su et al. 2021); ops/heads.h applies them.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

namespace trireme::ops {

// Angles' cosines and sines [S, D/2] fp32 for positions [S] int64 and inverse frequencies [D/2]
// fp32.
std::pair<at::Tensor, at::Tensor> rope_table(const at::Tensor& positions,
                                             const at::Tensor& inverse_frequencies);

}  // namespace trireme::ops
