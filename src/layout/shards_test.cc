#include "layout/shards.h"

#include <gtest/gtest.h>

namespace trireme::layout {
namespace {

TEST(Shards, CoverEveryElementOnceInTheOrderOfRanks) {
  for (const int64_t numel : {0L, 1L, 255L, 256L, 257L, 4096L, 100003L, 5000000007L}) {
    for (const int64_t ranks : {2L, 3L, 8L}) {
      int64_t end = 0;
      for (int64_t rank = 0; rank < ranks; ++rank) {
        const Sharding sharding{1, ranks, rank};
        const Shard shard = sharding.shard(numel);
        EXPECT_EQ(shard.first, end);
        EXPECT_LE(shard.count, shard.size);
        EXPECT_EQ(shard.size % 256, 0);
        EXPECT_EQ(shard.size * ranks, sharding.padded(numel));
        end += shard.count;
      }
      EXPECT_EQ(end, numel);
      EXPECT_LT(Sharding({1, ranks, 0}).padded(numel), numel + 256 * ranks);
    }
  }
}

TEST(Shards, OneRankAndStageZeroHoldEverything) {
  for (const Sharding& sharding : {Sharding{3, 1, 0}, Sharding{0, 8, 5}}) {
    EXPECT_EQ(sharding.shard(1001).first, 0);
    EXPECT_EQ(sharding.shard(1001).count, 1001);
    EXPECT_EQ(sharding.padded(1001), 1001);
    EXPECT_FALSE(sharding.states() || sharding.gradients() || sharding.weights());
  }
}

}  // namespace
}  // namespace trireme::layout
