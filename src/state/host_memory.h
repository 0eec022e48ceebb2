// The host memory of a training run, allocated as the plan says.
#pragma once

#include "device/host_arena.h"
#include "device/machine.h"
#include "plan/memory.h"
#include "state/params.h"

namespace trireme::state {

// Memory that is copied to or from the device is pinned; the constructor starts that.
struct HostMemory {
  device::HostArena activations, optimizer, gradients, layers, checkpoint;
  // The homes of the weights of such a run; `training`: with master weights.
  WeightHomes homes(const plan::MemoryPlan& plan, const device::Machine& machine, bool training);
  HostMemory(const plan::MemoryPlan& plan, const at::Device& device);
};

}  // namespace trireme::state
