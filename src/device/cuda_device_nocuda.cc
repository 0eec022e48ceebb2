#include "device/cuda_device.h"

namespace trireme::device::cuda {

bool built() { return false; }
int available_devices() { return 0; }
void use_device(int) {}
std::string device_name() { return ""; }
int64_t free_bytes() { return 0; }
AllocatorStats allocator_stats() { return {}; }
int64_t used_bytes() { return 0; }
void reset_peaks() {}
void refuse_synchronisation(bool) {}
void prepare_allocator() {}
void limit_memory(int64_t) {}
void synchronize() {}
std::string pin(void*, int64_t) { return "this build is for the CPU only"; }
void unpin(void*) {}

}  // namespace trireme::device::cuda
