#include "config/mesh_spec.h"

#include <array>
#include <iterator>

#include "base/error.h"

namespace trireme::config {
namespace {

enum { kPipelineAxis, kDataAxis, kRingAxis, kUlyssesAxis, kTensorAxis, kDimensions };
using Coordinates = std::array<int64_t, kDimensions>;

Coordinates sizes(const MeshSpec& mesh) {
  return {mesh.pipeline, mesh.data, mesh.ring, mesh.ulysses, mesh.tensor};
}

Coordinates coordinates(const MeshSpec& mesh, int64_t rank) {
  const Coordinates size = sizes(mesh);
  Coordinates at{};
  for (int d = kDimensions - 1; d >= 0; --d) {
    at[d] = rank % size[d];
    rank /= size[d];
  }
  return at;
}

// By Axis: its name, and which dimensions of the mesh its groups extend along.
struct AxisInfo {
  const char* name;
  std::array<bool, kDimensions> along;
};
constexpr AxisInfo kInfo[] = {
    {"world", {true, true, true, true, true}},
    {"pipeline", {true, false, false, false, false}},
    {"data", {false, true, false, false, false}},
    {"ring", {false, false, true, false, false}},
    {"ulysses", {false, false, false, true, false}},
    {"tensor", {false, false, false, false, true}},
    {"sequence", {false, false, true, true, false}},
    {"shards", {false, true, true, true, false}},
    {"expert", {false, true, true, true, false}},  // a run of them
};
static_assert(std::size(kInfo) == std::size(kAxes));

const AxisInfo& info(Axis axis) { return kInfo[static_cast<size_t>(axis)]; }

}  // namespace

MeshSpec fill_mesh(MeshSpec degrees, int64_t ranks) {
  TRIREME_CHECK(ranks >= 1);
  degrees.data = 1;
  const int64_t fixed = degrees.ranks();
  if (ranks % fixed != 0) {
    fail(
        "{} ranks cannot be laid out as pipeline {} x ring {} x ulysses {} x tensor {}: start {} "
        "ranks or a multiple of them, or use smaller degrees",
        ranks, degrees.pipeline, degrees.ring, degrees.ulysses, degrees.tensor, fixed);
  }
  degrees.data = ranks / fixed;
  if (degrees.shards() % degrees.expert != 0) {
    fail(
        "experts cannot be spread over {} ranks: they do not divide the {} of data {} x ring {} x "
        "ulysses {}",
        degrees.expert, degrees.shards(), degrees.data, degrees.ring, degrees.ulysses);
  }
  return degrees;
}

const char* axis_name(Axis axis) { return info(axis).name; }

std::vector<int64_t> group_of(const MeshSpec& mesh, Axis axis, int64_t rank) {
  const auto& along = info(axis).along;
  const Coordinates here = coordinates(mesh, rank);
  std::vector<int64_t> ranks;
  for (int64_t other = 0; other < mesh.ranks(); ++other) {
    const Coordinates there = coordinates(mesh, other);
    bool same = true;
    for (int d = 0; d < kDimensions; ++d) same &= along[d] || here[d] == there[d];
    if (same) ranks.push_back(other);
  }
  if (axis != Axis::kExpert) return ranks;
  int64_t index = 0;
  while (ranks[index] != rank) ++index;
  const auto first = ranks.begin() + index / mesh.expert * mesh.expert;
  return {first, first + mesh.expert};
}

}  // namespace trireme::config
