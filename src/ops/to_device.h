// Small lists of integers on their way to the device.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace trireme::ops {

// A 1-D tensor of `dtype` (int64 or int32). The host does not wait for the copy: it goes through
// pinned memory, which libtorch's allocator reuses only when the copy is done.
at::Tensor to_device(const std::vector<int64_t>& values, const at::Device& device,
                     at::ScalarType dtype = at::kLong);

}  // namespace trireme::ops
