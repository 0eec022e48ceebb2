// NaN and infinity among weights: no file of ours has them, and no model that is read may.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/safetensors.h"

namespace trireme::io {

// The first of these numbers that is NaN or infinite, from 0; -1: there is none, or the dtype has
// none. `bytes` hold whole numbers of that dtype.
int64_t first_not_finite(std::span<const std::byte> bytes, DType dtype);

// "inf at [3, 17]": the number at this place of a tensor of this shape, whose bytes begin there.
std::string not_finite_text(std::span<const std::byte> number, DType dtype, int64_t place,
                            const std::vector<int64_t>& shape);

// The same tensors, for a file or folder `path`: the bytes of one that has NaN or infinity are a
// UserError, before any of them is written.
std::vector<TensorSource> require_finite(std::vector<TensorSource> tensors,
                                         const std::string& path);

}  // namespace trireme::io
