// Measures the rates of this device (plan/hardware.h).
#pragma once

#include <cstdint>
#include <vector>

#include "device/machine.h"
#include "layout/model.h"
#include "plan/hardware.h"

namespace trireme::engine {

// Times the kernels alone on the model's own sizes, each for about a third of a second. AdamW on
// the host is not measured: its rate is the reference's.
plan::Rates measure_rates(const layout::Model& model, const device::Machine& machine,
                          const std::vector<int64_t>& documents);

}  // namespace trireme::engine
