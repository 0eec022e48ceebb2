#include "attention/ulysses.h"

#include <gtest/gtest.h>

#include "dist/testing.h"
#include "ops/testing.h"

namespace trireme::attention {
namespace {

using config::Axis;
using ops::random_tensor;
using ops::relative_error;

constexpr double kScale = 0.25;
constexpr Axis kUlysses[] = {Axis::kUlysses};

// Ranks, query heads, key heads, rows of the sequence, query heads of a rank at a time (0: all).
class Degrees
    : public testing::TestWithParam<std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t>> {};

INSTANTIATE_TEST_SUITE_P(
    Ulysses, Degrees,
    testing::Values(std::tuple{1, 4, 2, 31, 0},   // of one rank
                    std::tuple{2, 8, 4, 61, 0},   // as many key heads as ranks, or more
                    std::tuple{4, 8, 2, 61, 0},   // fewer: repeated
                    std::tuple{8, 8, 2, 61, 0},   // of each rank one query head
                    std::tuple{2, 12, 3, 40, 0},  // ranks and key heads divide neither way
                    std::tuple{3, 12, 4, 41, 0},  //
                    std::tuple{4, 4, 1, 3, 0},    // a rank without rows
                    std::tuple{2, 8, 4, 61, 2},   // groups of a run of the same key head
                    std::tuple{2, 16, 2, 61, 2},  // of a part of a run: key gradients are sums
                    std::tuple{2, 12, 3, 40, 3},  // three key heads with copies
                    std::tuple{2, 8, 8, 61, 1}));

// The single rank's attention over packed documents that shards cut anywhere: the same kernels on
// the same rows, so that all but the sums of repeated heads have the same bits.
TEST_P(Degrees, EqualTheSingleRank) {
  const auto [ranks, heads, kv_heads, rows, at_a_time] = GetParam();
  const at::Tensor q = random_tensor({rows, heads, 16}, 1),
                   k = random_tensor({rows, kv_heads, 16}, 2),
                   v = random_tensor({rows, kv_heads, 16}, 3), dout = random_tensor(q.sizes(), 4);
  const std::vector<int64_t> starts =
      rows > 20 ? std::vector<int64_t>{0, 1, 17, rows} : std::vector<int64_t>{0, rows};
  LocalAttention single(starts, at::kCPU, kScale);
  const AttentionOutput expected = single.forward(q, k, v);
  const AttentionGradients gradients = single.backward(dout, q, k, v, expected);

  std::vector<int64_t> bounds;
  for (int64_t r = 0; r <= ranks; ++r) bounds.push_back(rows * r / ranks);
  dist::run_ranks({.ulysses = ranks}, kUlysses, [&](const dist::Mesh& mesh) {
    const int64_t first = bounds[mesh.rank()], count = bounds[mesh.rank() + 1] - first;
    const auto mine = [&](const at::Tensor& x) { return x.narrow(0, first, count); };
    UlyssesAttention attention(
        std::make_unique<LocalAttention>(starts, at::kCPU, kScale), mesh.group(Axis::kUlysses),
        bounds, at_a_time == 0 ? layout::kHeadGroupBytes : at_a_time * rows * 16 * 4);
    const AttentionOutput out = attention.forward(mine(q), mine(k), mine(v));
    EXPECT_TRUE(out.out.equal(mine(expected.out)));
    const AttentionGradients g = attention.backward(mine(dout), mine(q), mine(k), mine(v), out);
    EXPECT_TRUE(g.dq.equal(mine(gradients.dq)));
    if (count == 0) return;
    // fp32 sums of at most as many terms in another order.
    EXPECT_LT(relative_error(g.dk, mine(gradients.dk)), 1e-6);
    EXPECT_LT(relative_error(g.dv, mine(gradients.dv)), 1e-6);
  });
}

// 32 query heads of which four read a key head, over two ranks: 16 and four on each.
TEST(HeadGroups, AreSmallEnoughToLieUnderEachOther) {
  constexpr int64_t kMegabyte = int64_t{1} << 20;
  const auto heads_at_a_time = [](int64_t kv_heads, int64_t megabytes_of_a_head) {
    return layout::head_groups(32, kv_heads, 2, megabytes_of_a_head * kMegabyte,
                               layout::kHeadGroupBytes)
        .group;
  };
  EXPECT_EQ(heads_at_a_time(8, 1), 16);   // little in all
  EXPECT_EQ(heads_at_a_time(8, 4), 8);    // two runs
  EXPECT_EQ(heads_at_a_time(8, 8), 4);    // a run
  EXPECT_EQ(heads_at_a_time(8, 64), 4);   // a run, though large
  EXPECT_EQ(heads_at_a_time(8, 256), 1);  // more than may be held
  EXPECT_EQ(heads_at_a_time(32, 16), 2);  // each has a key of its own
  EXPECT_EQ(heads_at_a_time(32, 64), 1);
}

// What is sent is each head that another rank reads, once: nothing is sent to all.
TEST(UlyssesAttention, SendsTheLeast) {
  constexpr int64_t kRanks = 4, kRows = 32, kHeads = 8, kKeys = 2, kDim = 16;
  const std::vector<int64_t> bounds = {0, 8, 16, 24, 32}, starts = {0, kRows};
  dist::run_ranks({.ulysses = kRanks}, kUlysses, [&](const dist::Mesh& mesh) {
    UlyssesAttention attention(std::make_unique<LocalAttention>(starts, at::kCPU, kScale),
                               mesh.group(Axis::kUlysses), bounds);
    const at::Tensor q = random_tensor({8, kHeads, kDim}, 1),
                     k = random_tensor({8, kKeys, kDim}, 2);
    attention.forward(q, k, k);
    // For its 8 rows, a rank sends 2 query heads, one key head and one value head to each of the 3
    // others. It sends back 2 heads of the 8 rows of each.
    const layout::Volume volume = mesh.group(Axis::kUlysses).volume(layout::Collective::kAllToAll);
    EXPECT_EQ(volume.calls, 4);
    EXPECT_EQ(volume.bytes, 3 * 8 * kDim * 4 * (2 + 1 + 1 + 2));
  });
}

}  // namespace
}  // namespace trireme::attention
