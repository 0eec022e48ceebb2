#include "device/phases.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/host_memory.h"

namespace trireme::device {

Phases::Scope::Scope(Phases& phases, const char* name)
    : phases_(phases), record_(at::RecordScope::USER_SCOPE) {
  if (record_.isActive()) record_.before(name);
  phases_.name_ = name;
  phases_.layer_ = -1;
  reset_peaks(phases_.device_);
}

Phases::Scope::~Scope() { phases_.leave(); }

void Phases::leave() {
  const char* name = name_;
  auto peak = std::ranges::find(peaks_, name, &Peak::phase);
  if (peak == peaks_.end()) peak = peaks_.insert(peaks_.end(), Peak{.phase = name});
  const AllocatorStats stats = allocator_stats(device_);
  peak->device = std::max(peak->device, stats.allocated_peak);
  peak->reserved = std::max(peak->reserved, stats.reserved_peak);
  peak->host = std::max(peak->host, host_peak_bytes());
}

std::string Phases::where() const {
  const int64_t step = step_, layer = layer_;
  return (step < 0 ? "" : fmt::format("step {}, ", step)) + name_.load() +
         (layer < 0 ? "" : fmt::format(", layer {}", layer));
}

Phases::Peak Phases::total() const {
  Peak total{.phase = "all", .host = host_peak_bytes()};
  for (const Peak& peak : peaks_) {
    total.device = std::max(total.device, peak.device);
    total.reserved = std::max(total.reserved, peak.reserved);
    total.host = std::max(total.host, peak.host);
  }
  return total;
}

}  // namespace trireme::device
