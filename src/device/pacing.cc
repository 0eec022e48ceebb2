#include "device/pacing.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <utility>

namespace trireme::device {

void Pacing::pace() {
  if (device_.is_cpu()) return;
  c10::Event here(device_.type());
  here.record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  if (last_) last_->synchronize();
  last_ = std::move(here);
}

}  // namespace trireme::device
