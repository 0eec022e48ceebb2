#include "engine/cuda_device.h"

namespace trireme::engine::cuda {

bool built() { return false; }
int available_devices() { return 0; }
std::string device_name() { return ""; }
int64_t free_bytes() { return 0; }
int64_t peak_bytes() { return 0; }
void limit_memory(int64_t) {}
void synchronize() {}

}  // namespace trireme::engine::cuda
