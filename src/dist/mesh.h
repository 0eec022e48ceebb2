// The ranks of a run and their groups, as one value that is passed by const reference.
#pragma once

#include <cstdint>
#include <map>
#include <span>

#include "config/mesh_spec.h"
#include "dist/group.h"

namespace trireme::dist {

// The group of all ranks of a job, through Gloo, for CPU tensors: what the ranks must agree on.
Group control_group(int64_t ranks, int64_t rank, const Store& store, const Timeouts& timeouts);

class Mesh {
 public:
  // A mesh of one rank.
  Mesh() = default;
  // The mesh of all ranks of `spec`. Each rank constructs it with the same axes (those whose groups
  // the run uses) and the same backend. `control` comes from control_group(). PeerFailure: as for
  // Group.
  Mesh(const config::MeshSpec& spec, Group control, const Store& store,
       std::span<const config::Axis> axes, const Timeouts& timeouts, Backend backend);
  // The same through Gloo.
  Mesh(const config::MeshSpec& spec, int64_t rank, const Store& store,
       std::span<const config::Axis> axes, const Timeouts& timeouts);

  const config::MeshSpec& spec() const { return spec_; }
  int64_t rank() const { return control_.index(); }
  // This rank's group along the axis, which is one of the constructor's: for tensors on the device.
  const Group& group(config::Axis axis) const;
  const Group& control() const { return control_; }

 private:
  config::MeshSpec spec_;
  Group control_;
  std::map<config::Axis, Group> groups_;
  Group self_;
};

// What this rank's groups along these axes have counted so far.
layout::CommunicationTable counted_communication(const Mesh& mesh,
                                                 std::span<const config::Axis> axes);

}  // namespace trireme::dist
