// This process's and this machine's memory, in bytes, as Linux tells it.
#pragma once

#include <cstdint>

namespace trireme {

// What can still be allocated without swapping: MemAvailable, and no more than the cgroup's limit
// leaves.
int64_t host_available_bytes();

// Resident now, and the most that was ever resident (VmRSS, VmHWM).
int64_t host_resident_bytes();
int64_t host_peak_bytes();

}  // namespace trireme
