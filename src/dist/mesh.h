// The ranks of a run and their groups, as one value that is passed by const reference.
#pragma once

#include <cstdint>
#include <map>
#include <span>

#include "config/mesh_spec.h"
#include "dist/group.h"

namespace trireme::dist {

// All ranks of a job, through Gloo: for what they agree on, on the CPU.
Group control_group(int64_t ranks, int64_t rank, const Store& store, const Timeouts& timeouts);

class Mesh {
 public:
  // Of one rank.
  Mesh() = default;
  // Of all ranks of `spec`, each of which constructs it with the same axes, whose groups the run
  // uses, and the same backend for them. `control` is control_group()'s. PeerFailure: as Group's.
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
