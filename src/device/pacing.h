// Keeps the host near the device: work is queued without waiting, and a host that has queued
// minutes of it cannot act on what it learns now.
#pragma once

#include <c10/core/Event.h>

#include <optional>

#include "device/machine.h"

namespace trireme::device {

class Pacing {
 public:
  explicit Pacing(const at::Device& device) : device_(device) {}

  // Waits until the device has done what was queued before the call before this one. Nothing to do
  // on the CPU.
  void pace();

 private:
  at::Device device_;
  std::optional<c10::Event> last_;
};

}  // namespace trireme::device
