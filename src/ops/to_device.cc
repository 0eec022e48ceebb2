#include "ops/to_device.h"

#include <ATen/ops/empty.h>

#include <algorithm>

namespace trireme::ops {

at::Tensor to_device(const std::vector<int64_t>& values, const at::Device& device,
                     at::ScalarType dtype) {
  const auto count = static_cast<int64_t>(values.size());
  at::Tensor host = at::empty({count}, at::TensorOptions(dtype).pinned_memory(device.is_cuda()));
  if (dtype == at::kInt) {
    std::ranges::transform(values, host.mutable_data_ptr<int32_t>(),
                           [](int64_t value) { return static_cast<int32_t>(value); });
  } else {
    std::ranges::copy(values, host.mutable_data_ptr<int64_t>());
  }
  return device.is_cuda() ? host.to(device, /*non_blocking=*/true) : host;
}

}  // namespace trireme::ops
