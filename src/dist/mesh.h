// The ranks of a run and their groups, as one value that is passed by const reference.
#pragma once

#include <cstdint>
#include <map>
#include <span>

#include "config/mesh_spec.h"
#include "dist/group.h"

namespace trireme::dist {

class Mesh {
 public:
  // Of one rank.
  Mesh() = default;
  // Of all ranks of `spec`, each of which constructs it with the same spans, of which the run uses
  // the groups. PeerFailure: as Group's.
  Mesh(const config::MeshSpec& spec, int64_t rank, const Store& store,
       std::span<const config::Span> spans, const Timeouts& timeouts);

  const config::MeshSpec& spec() const { return spec_; }
  int64_t rank() const { return rank_; }
  // This rank's group of the span, which is one of the constructor's.
  const Group& group(config::Span span) const;

 private:
  config::MeshSpec spec_;
  int64_t rank_ = 0;
  std::map<config::Span, Group> groups_;
  Group self_;
};

}  // namespace trireme::dist
