// What every launch needs; included by .cu files and stream_cuda.cc only.
#pragma once

#include <cuda_runtime_api.h>

namespace trireme::ops::cuda {

// torch's current stream on the current device.
cudaStream_t current_stream();
// Aborts when the last launch was refused; errors inside a kernel surface at the next wait.
void check_launch(const char* file, int line);
// Sizes for which there is no kernel.
[[noreturn]] void refuse_launch(const char* why);

}  // namespace trireme::ops::cuda

#define TRIREME_CHECK_LAUNCH() ::trireme::ops::cuda::check_launch(__FILE__, __LINE__)
