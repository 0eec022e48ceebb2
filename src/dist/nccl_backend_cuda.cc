#include <c10/cuda/CUDAFunctions.h>

#include "dist/nccl_backend.h"

#ifndef USE_C10D_NCCL
#define USE_C10D_NCCL  // a definition of the wheel's own CMake target
#endif

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

namespace trireme::dist {

c10::intrusive_ptr<c10d::Backend> nccl_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                               int rank, int ranks,
                                               std::chrono::milliseconds timeout) {
  // High priority: if an exchange and a kernel that fills the device become ready together, the
  // exchange starts first and overlaps with the kernel.
  auto options = c10d::ProcessGroupNCCL::Options::create(/*is_high_priority_stream=*/true);
  options->timeout = timeout;
  auto backend = c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, ranks, options);
  const at::Device device(at::kCUDA, c10::cuda::current_device());
  backend->setBoundDeviceId(device);
  backend->eagerConnectSingleDevice(device);
  return backend;
}

}  // namespace trireme::dist
