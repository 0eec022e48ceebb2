// How the ranks of a run are laid out: a box of five axes, the innermost of which changes fastest
// from rank to rank, so that what exchanges most lies within a node:
//
//   rank = (((pipeline * D + data) * R + ring) * U + ulysses) * T + tensor
//
// Experts have no axis of their own: expert groups are runs of `expert` neighbours along
// data x ring x ulysses.
#pragma once

#include <cstdint>
#include <vector>

namespace trireme::config {

struct MeshSpec {
  int64_t pipeline = 1;
  int64_t data = 1;
  int64_t ring = 1;
  int64_t ulysses = 1;
  int64_t tensor = 1;
  int64_t expert = 1;

  int64_t sequence() const { return ring * ulysses; }
  int64_t shards() const { return data * ring * ulysses; }
  int64_t ranks() const { return pipeline * shards() * tensor; }
};

// The mesh of all ranks: as many data-parallel groups as the other degrees leave. UserError: the
// degrees do not divide the ranks, or the experts' degree does not divide the shards.
MeshSpec fill_mesh(MeshSpec degrees, int64_t ranks);

// The axes of the mesh along which ranks exchange something, alone or several together.
enum class Axis {
  kWorld,
  kPipeline,
  kData,
  kRing,
  kUlysses,
  kTensor,
  kSequence,  // ring x ulysses: one sequence
  kShards,    // data x ring x ulysses: one copy of the weights, which ZeRO shards
  kExpert,
};
constexpr Axis kAxes[] = {Axis::kWorld,    Axis::kPipeline, Axis::kData,
                          Axis::kRing,     Axis::kUlysses,  Axis::kTensor,
                          Axis::kSequence, Axis::kShards,   Axis::kExpert};
const char* axis_name(Axis axis);

// The ranks, ascending, of the axis's group that `rank` is in.
std::vector<int64_t> group_of(const MeshSpec& mesh, Axis axis, int64_t rank);

}  // namespace trireme::config
