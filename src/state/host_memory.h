// The host memory of a training run, allocated as the plan says.
#pragma once

#include "device/host_arena.h"
#include "device/machine.h"
#include "plan/memory.h"
#include "state/params.h"

namespace trireme::state {

// What is copied to and from the device is pinned, which begins at once.
struct HostMemory {
  device::HostArena activations, optimizer, gradients, layers;
  // Where the weights of such a run are; `training`: with masters.
  WeightHomes homes(const plan::MemoryPlan& plan, const device::Machine& machine, bool training);
  HostMemory(const plan::MemoryPlan& plan, const at::Device& device);
};

}  // namespace trireme::state
