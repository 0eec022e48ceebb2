#include "state/host_memory.h"

#include "state/optimizer.h"

namespace trireme::state {

HostMemory::HostMemory(const plan::MemoryPlan& plan, const at::Device& device)
    : activations(plan.execution.host_bytes, device),
      // Where the device does not copy it, it need not be pinned.
      optimizer(
          plan.optimizer_arena,
          plan.request.update == config::OptimizerOffload::kStream ? device : at::Device(at::kCPU),
          "the optimizer's state", "--moments_dtype 8bit or --offload_optimizer none"),
      gradients(plan.gradients_arena, device, "gradients",
                "--optimizer_in_backward true or --offload_optimizer stream"),
      layers(plan.layers_arena, device, "the layers' weights", "--offload_param none"),
      checkpoint(plan.snapshot_arena, device, "a checkpoint on its way", "--async_save false") {}

WeightHomes HostMemory::homes(const plan::MemoryPlan& plan, const device::Machine& machine,
                              bool training) {
  const plan::MemoryRequest& request = plan.request;
  return {training ? master_home(request.master_weights, request.update, machine, optimizer)
                   : std::nullopt,
          layers.bytes() > 0 ? &layers : nullptr};
}

}  // namespace trireme::state
