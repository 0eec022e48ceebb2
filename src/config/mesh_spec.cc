#include "config/mesh_spec.h"

#include <array>
#include <iterator>

#include "base/error.h"

namespace trireme::config {
namespace {

enum Axis { kPipelineAxis, kDataAxis, kRingAxis, kUlyssesAxis, kTensorAxis, kAxes };
using Coordinates = std::array<int64_t, kAxes>;

Coordinates sizes(const MeshSpec& mesh) {
  return {mesh.pipeline, mesh.data, mesh.ring, mesh.ulysses, mesh.tensor};
}

Coordinates coordinates(const MeshSpec& mesh, int64_t rank) {
  const Coordinates size = sizes(mesh);
  Coordinates at{};
  for (int axis = kAxes - 1; axis >= 0; --axis) {
    at[axis] = rank % size[axis];
    rank /= size[axis];
  }
  return at;
}

// By Span: its name, and which axes its groups extend along.
struct SpanInfo {
  const char* name;
  std::array<bool, kAxes> along;
};
constexpr SpanInfo kInfo[] = {
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
static_assert(std::size(kInfo) == std::size(kSpans));

const SpanInfo& info(Span span) { return kInfo[static_cast<size_t>(span)]; }

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

const char* span_name(Span span) { return info(span).name; }

std::vector<int64_t> group_of(const MeshSpec& mesh, Span span, int64_t rank) {
  const auto& along = info(span).along;
  const Coordinates here = coordinates(mesh, rank);
  std::vector<int64_t> ranks;
  for (int64_t other = 0; other < mesh.ranks(); ++other) {
    const Coordinates there = coordinates(mesh, other);
    bool same = true;
    for (int axis = 0; axis < kAxes; ++axis) same &= along[axis] || here[axis] == there[axis];
    if (same) ranks.push_back(other);
  }
  if (span != Span::kExpert) return ranks;
  int64_t index = 0;
  while (ranks[index] != rank) ++index;
  const auto first = ranks.begin() + index / mesh.expert * mesh.expert;
  return {first, first + mesh.expert};
}

}  // namespace trireme::config
