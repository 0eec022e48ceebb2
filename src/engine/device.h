// The device that a run computes on: choice, memory, threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "config/run_config.h"

namespace trireme::engine {

struct Machine {
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;  // of weights and activations
  int64_t budget = 0;                 // bytes that the process may hold on the device
  std::string name;                   // "CPU, 2 threads", "NVIDIA H200"
};

// Resolves device, dtype and memory budget, sets threads and determinism. UserError: no such
// device, a dtype that it does not compute in.
Machine prepare_machine(const config::RunConfig& run);

// The most bytes allocated so far: this process's on CPU, the allocator's on CUDA.
int64_t peak_bytes(const at::Device& device);

// Waits for the device: before a clock is read.
void synchronize(const at::Device& device);

}  // namespace trireme::engine
