// What the program asks of CUDA outside of tensors; cuda_device_nocuda.cc replaces it in a build
// without CUDA.
#pragma once

#include <cstdint>
#include <string>

#include "device/machine.h"

namespace trireme::device::cuda {

bool built();
int available_devices();
void use_device(int index);  // for this thread, and for pin()
std::string device_name();
// Free bytes of the current device, including what this process's allocator caches.
int64_t free_bytes();
AllocatorStats allocator_stats();
void reset_peaks();
int64_t used_bytes();
void refuse_synchronisation(bool refuse);
void prepare_allocator();          // segments that grow, so that a full device does not fragment
void limit_memory(int64_t bytes);  // the allocator refuses beyond this
void synchronize();
// Pins host memory, from any thread; "" or why the driver refuses.
std::string pin(void* address, int64_t bytes);
void unpin(void* address);

}  // namespace trireme::device::cuda
