// This process's and this machine's memory, in bytes, as Linux tells it.
#pragma once

#include <cstdint>

namespace trireme {

// What can still be allocated without swapping: MemAvailable, and no more than the cgroup's limit leaves.
int64_t host_available_bytes();

// Resident now, and the most that was ever resident (VmRSS, VmHWM).
int64_t host_resident_bytes();
int64_t host_peak_bytes();

// Large tensors come and go in every step. Keeps freed memory in this process instead of returning it to the system and
// faulting it in again page by page (a third of a small model's step); call before the first allocation.
void keep_freed_memory();

}  // namespace trireme
