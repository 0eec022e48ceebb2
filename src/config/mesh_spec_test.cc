#include "config/mesh_spec.h"

#include <gtest/gtest.h>

#include <set>

#include "base/testing.h"

namespace trireme::config {
namespace {

TEST(MeshSpec, DataParallelGroupsAreWhatIsLeft) {
  EXPECT_EQ(fill_mesh({}, 1).data, 1);
  EXPECT_EQ(fill_mesh({.ulysses = 2, .tensor = 2}, 16).data, 4);
  EXPECT_EQ(fill_mesh({.ring = 4, .ulysses = 2}, 8).data, 1);
}

TEST(MeshSpec, DegreesThatDoNotDivideAreNamedWithTheRanks) {
  EXPECT_EQ(
      user_error([] { fill_mesh({.ring = 2, .ulysses = 4}, 12); }),
      "12 ranks cannot be laid out as pipeline 1 x ring 2 x ulysses 4 x tensor 1: start 8 ranks "
      "or a multiple of them, or use smaller degrees");
  EXPECT_EQ(user_error([] { fill_mesh({.ulysses = 4, .expert = 3}, 8); }),
            "experts cannot be spread over 3 ranks: they do not divide the 8 of data 2 x ring 1 x "
            "ulysses 4");
}

TEST(MeshSpec, NeighboursShareTheInnermostAxis) {
  const MeshSpec mesh = fill_mesh({.pipeline = 2, .ring = 2, .ulysses = 2, .tensor = 2}, 32);
  using Ranks = std::vector<int64_t>;
  EXPECT_EQ(group_of(mesh, Axis::kTensor, 5), (Ranks{4, 5}));
  EXPECT_EQ(group_of(mesh, Axis::kUlysses, 5), (Ranks{5, 7}));
  EXPECT_EQ(group_of(mesh, Axis::kRing, 5), (Ranks{1, 5}));
  EXPECT_EQ(group_of(mesh, Axis::kData, 5), (Ranks{5, 13}));
  EXPECT_EQ(group_of(mesh, Axis::kPipeline, 5), (Ranks{5, 21}));
  EXPECT_EQ(group_of(mesh, Axis::kSequence, 5), (Ranks{1, 3, 5, 7}));
  EXPECT_EQ(group_of(mesh, Axis::kShards, 5), (Ranks{1, 3, 5, 7, 9, 11, 13, 15}));
  EXPECT_EQ(group_of(mesh, Axis::kWorld, 5).size(), 32u);
}

TEST(MeshSpec, ExpertGroupsAreRunsOfShards) {
  const MeshSpec mesh = fill_mesh({.ulysses = 2, .tensor = 2, .expert = 4}, 16);
  EXPECT_EQ(group_of(mesh, Axis::kExpert, 3), (std::vector<int64_t>{1, 3, 5, 7}));
  EXPECT_EQ(group_of(mesh, Axis::kExpert, 12), (std::vector<int64_t>{8, 10, 12, 14}));
}

// Everybody in a group sees the same group, and every rank is in one.
TEST(MeshSpec, EverySpanCutsTheRanksIntoGroups) {
  const MeshSpec mesh =
      fill_mesh({.pipeline = 3, .ring = 2, .ulysses = 4, .tensor = 2, .expert = 8}, 96);
  for (const Axis axis : kAxes) {
    std::set<std::vector<int64_t>> groups;
    size_t ranks = 0;
    for (int64_t rank = 0; rank < mesh.ranks(); ++rank) {
      const auto group = group_of(mesh, axis, rank);
      EXPECT_TRUE(std::ranges::binary_search(group, rank)) << axis_name(axis);
      if (groups.insert(group).second) ranks += group.size();
    }
    EXPECT_EQ(ranks, 96u) << axis_name(axis);
  }
}

}  // namespace
}  // namespace trireme::config
