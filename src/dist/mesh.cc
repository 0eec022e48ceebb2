#include "dist/mesh.h"

#include <algorithm>

#include "base/error.h"

namespace trireme::dist {

Mesh::Mesh(const config::MeshSpec& spec, int64_t rank, const Store& store,
           std::span<const config::Span> spans, const Timeouts& timeouts)
    : spec_(spec), rank_(rank) {
  TRIREME_CHECK(rank >= 0 && rank < spec.ranks(), "rank {} of {}", rank, spec.ranks());
  // Everybody goes through the spans in the same order, so that nobody waits for who waits.
  for (const config::Span span : spans) {
    std::vector<int64_t> ranks = config::group_of(spec, span, rank);
    const auto index = static_cast<size_t>(std::ranges::find(ranks, rank) - ranks.begin());
    groups_.emplace(span, Group(config::span_name(span), std::move(ranks), index, store, timeouts));
  }
}

const Group& Mesh::group(config::Span span) const {
  if (spec_.ranks() == 1) return self_;
  const auto found = groups_.find(span);
  TRIREME_CHECK(found != groups_.end(), "the mesh has no groups of {}", config::span_name(span));
  return found->second;
}

}  // namespace trireme::dist
