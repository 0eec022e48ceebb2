// Reports the memory that a run used beside its plan: after a step, at the end, and when memory was
// not enough.
#pragma once

#include <functional>
#include <string>

#include "config/json.h"
#include "device/machine.h"
#include "device/phases.h"
#include "plan/memory.h"

namespace trireme::train {

// Lines with the plan's table, the peak of each phase, and what the device holds beside tensors.
std::string memory_report(const plan::MemoryPlan& plan, const device::Phases& phases,
                          const device::Machine& machine);

// The peak of each phase as a list of {"phase", "device", "reserved", "host"}, bytes.
config::Json peaks_json(const device::Phases& phases);

// Runs `work`. An allocation in it that fails, on the device or on the host, is logged with the
// memory report and becomes a UserError of one line: phase, layer, the bytes that were requested,
// and an option with which the plan fits the memory that there is.
void explain_out_of_memory(const plan::MemoryPlan& plan, const device::Phases& phases,
                           const device::Machine& machine, const std::function<void()>& work);

}  // namespace trireme::train
