// This process's and this host's memory, in bytes, as Linux reports it.
#pragma once

#include <cstdint>

namespace trireme {

// What can still be allocated without swapping: MemAvailable, and no more than the cgroup's limit
// leaves.
int64_t host_available_bytes();

// Resident now, and the most that was resident since the last reset (VmRSS, VmHWM).
int64_t host_resident_bytes();
int64_t host_peak_bytes();
// Does nothing if the system does not allow it; the peak is then that of the whole run.
void reset_host_peak();

// Bytes that a buffer of `bytes` takes in an arena of host memory: whole cache lines.
constexpr int64_t slot_bytes(int64_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace trireme
