// The device that a run computes on: choice, memory, threads.
//
// From the third step on the host never waits for the device, and asks the driver for no memory:
// the benchmark and a test refuse both. CUDA graphs would save little, since the device idles 1 %
// of a step, and they would fix the shapes.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "base/number_format.h"
#include "config/run_config.h"

namespace trireme::device {

struct Machine {
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;  // of weights and activations
  int64_t budget = 0;                 // bytes that the process may hold on the device
  int64_t program = 0;                // bytes of the budget that are in use already
  int64_t host_budget = 0;            // bytes of host memory for what does not stay on the device
  std::string name;                   // "CPU, 2 threads", "NVIDIA H200"

  // The dtype as a plan has it.
  NumberFormat format() const {
    return dtype == at::kFloat ? NumberFormat::kFloat32 : NumberFormat::kBFloat16;
  }
};

// The device of the rank with this number on its host. It becomes the current device. With more
// ranks than devices, ranks share them in turn. UserError: no such device.
at::Device take_device(const config::DeviceOptions& options, int64_t local_rank);

// How many ranks of the job, this one among them, share its host and its device.
struct RanksOnHost {
  int64_t host = 1;
  int64_t device = 1;
};

// Resolves device, dtype and memory budget (the rank's share of the free memory). Sets threads (its
// share of the cores) and determinism. UserError: no such device, or a dtype that it does not
// compute in.
Machine prepare_machine(const config::DeviceOptions& options, const config::MemoryOptions& memory,
                        RanksOnHost ranks = {});

// What CUDA's allocator counts; zeros on CPU. Peaks are those since reset_peaks().
struct AllocatorStats {
  int64_t allocated = 0, allocated_peak = 0;  // bytes in tensors
  int64_t reserved_peak = 0;                  // bytes taken from the driver
  int64_t driver_calls = 0;                   // allocations and releases so far
};
AllocatorStats allocator_stats(const at::Device& device);
// Resets the peaks of the device's allocator and of this process on the host.
void reset_peaks(const at::Device& device);
// Bytes of the device in use by anyone, contexts included; 0 on CPU.
int64_t used_bytes(const at::Device& device);

// While it lives, an operation that makes the host wait for the device throws. Nothing on CPU.
class NoSyncGuard {
 public:
  explicit NoSyncGuard(const at::Device& device);
  ~NoSyncGuard();
  NoSyncGuard(const NoSyncGuard&) = delete;
  NoSyncGuard& operator=(const NoSyncGuard&) = delete;

 private:
  bool active_;
};

// Waits for the device: before a clock is read.
void synchronize(const at::Device& device);

}  // namespace trireme::device
