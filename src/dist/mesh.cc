#include "dist/mesh.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace trireme::dist {

Group control_group(int64_t ranks, int64_t rank, const Store& store, const Timeouts& timeouts) {
  std::vector<int64_t> all(static_cast<size_t>(ranks));
  std::iota(all.begin(), all.end(), 0);
  return {"control", std::move(all), static_cast<size_t>(rank), store, timeouts};
}

Mesh::Mesh(const config::MeshSpec& spec, Group control, const Store& store,
           std::span<const config::Axis> axes, const Timeouts& timeouts, Backend backend)
    : spec_(spec), control_(std::move(control)) {
  TRIREME_CHECK(control_.size() == spec.ranks());
  // All ranks create the groups in the same order, else they deadlock.
  for (const config::Axis axis : axes) {
    std::vector<int64_t> ranks = config::group_of(spec, axis, rank());
    const auto index = static_cast<size_t>(std::ranges::find(ranks, rank()) - ranks.begin());
    const Backend how = ranks.size() == 1 ? Backend::kGloo : backend;  // one rank needs none
    groups_.emplace(axis,
                    Group(config::axis_name(axis), std::move(ranks), index, store, timeouts, how));
  }
}

Mesh::Mesh(const config::MeshSpec& spec, int64_t rank, const Store& store,
           std::span<const config::Axis> axes, const Timeouts& timeouts)
    : Mesh(spec, control_group(spec.ranks(), rank, store, timeouts), store, axes, timeouts,
           Backend::kGloo) {}

const Group& Mesh::group(config::Axis axis) const {
  if (spec_.ranks() == 1) return self_;
  const auto found = groups_.find(axis);
  TRIREME_CHECK(found != groups_.end(), "the mesh has no groups of {}", config::axis_name(axis));
  return found->second;
}

layout::CommunicationTable counted_communication(const Mesh& mesh,
                                                 std::span<const config::Axis> axes) {
  layout::CommunicationTable table;
  for (const config::Axis axis : axes) {
    for (size_t c = 0; c < layout::kCollectives; ++c) {
      const auto collective = static_cast<layout::Collective>(c);
      const layout::Volume volume = mesh.group(axis).volume(collective);
      if (volume.calls > 0) table[{axis, collective}] = volume;
    }
  }
  return table;
}

}  // namespace trireme::dist
