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
           std::span<const config::Span> spans, const Timeouts& timeouts, Wire wire)
    : spec_(spec), control_(std::move(control)) {
  TRIREME_CHECK(control_.size() == spec.ranks());
  // Everybody goes through the spans in the same order, so that nobody waits for who waits.
  for (const config::Span span : spans) {
    std::vector<int64_t> ranks = config::group_of(spec, span, rank());
    const auto index = static_cast<size_t>(std::ranges::find(ranks, rank()) - ranks.begin());
    const Wire how = ranks.size() == 1 ? Wire::kGloo : wire;  // one rank needs none
    groups_.emplace(span,
                    Group(config::span_name(span), std::move(ranks), index, store, timeouts, how));
  }
}

Mesh::Mesh(const config::MeshSpec& spec, int64_t rank, const Store& store,
           std::span<const config::Span> spans, const Timeouts& timeouts)
    : Mesh(spec, control_group(spec.ranks(), rank, store, timeouts), store, spans, timeouts,
           Wire::kGloo) {}

const Group& Mesh::group(config::Span span) const {
  if (spec_.ranks() == 1) return self_;
  const auto found = groups_.find(span);
  TRIREME_CHECK(found != groups_.end(), "the mesh has no groups of {}", config::span_name(span));
  return found->second;
}

}  // namespace trireme::dist
