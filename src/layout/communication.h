// What ranks exchange: the kinds of collectives, and how much went through each. A plan predicts
// these numbers; groups of ranks count them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>

#include "config/mesh_spec.h"

namespace trireme::layout {

enum class Collective { kAllReduce, kAllGather, kReduceScatter, kAllToAll, kRingShift };
inline constexpr size_t kCollectives = 5;
const char* collective_name(Collective collective);

// The communication volume of one kind of collective in one group.
struct Volume {
  int64_t calls = 0;
  int64_t bytes = 0;  // to other ranks, the least that the collective can do with
  // Through Gloo, seconds of the host between the start and the call of wait(), in which it did
  // something else, and within wait(). Through NCCL the host never waits: see device/profile.h.
  double overlapped = 0, exposed = 0;
};

using CommunicationTable = std::map<std::pair<config::Axis, Collective>, Volume>;

// What `now` has beyond `before`; rows without a call are left out.
CommunicationTable since(const CommunicationTable& before, CommunicationTable now);

}  // namespace trireme::layout
