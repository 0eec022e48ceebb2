// What the program asks of CUDA outside of tensors; cuda_device_nocuda.cc answers in a build
// without it.
#pragma once

#include <cstdint>
#include <string>

#include "device/machine.h"

namespace trireme::device::cuda {

bool built();
int available_devices();
void use_device(int index);  // the current one of this thread, and of pin()
std::string device_name();
// Free bytes of the current device, what this process's allocator caches included.
int64_t free_bytes();
AllocatorStats allocator_stats();
void reset_peaks();
int64_t used_bytes();
void refuse_synchronisation(bool refuse);
void prepare_allocator();  // segments that grow: a device filled to the brim does not fragment
void limit_memory(int64_t bytes);  // the allocator refuses beyond this
void synchronize();
// Pins host memory, from any thread; "" or why the driver refuses.
std::string pin(void* address, int64_t bytes);
void unpin(void* address);

}  // namespace trireme::device::cuda
