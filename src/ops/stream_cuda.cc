// Where kernels are launched, and what happens when a launch is refused.
#include <ATen/cuda/CUDAContextLight.h>
#include <c10/cuda/CUDAStream.h>

#include "base/error.h"
#include "ops/kernels.h"
#include "ops/launch.h"

namespace trireme::ops::cuda {

bool available() {  // compiled for sm_90a
  const cudaDeviceProp& device = *at::cuda::getCurrentDeviceProperties();
  return device.major == 9 && device.minor == 0;
}

cudaStream_t current_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

void check_launch(const char* file, int line) {
  const cudaError_t status = cudaGetLastError();
  if (status != cudaSuccess) check_failed(file, line, "launch", cudaGetErrorString(status));
}

void refuse_launch(const char* why) { check_failed(__FILE__, __LINE__, "launch", why); }

}  // namespace trireme::ops::cuda
