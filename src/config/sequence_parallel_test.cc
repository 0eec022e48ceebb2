#include "config/sequence_parallel.h"

#include <gtest/gtest.h>

#include "base/testing.h"

namespace trireme::config {
namespace {

// ring x ulysses of a model with 12 query heads and 4 key heads.
std::pair<int64_t, int64_t> degrees(const std::string& type, int64_t size, int64_t ulysses = 0,
                                    int64_t local_ranks = 480) {
  const RankOptions options{.sequence_parallel_size = size,
                            .sequence_parallel_type = *choice_of<SequenceParallelType>(type),
                            .ulysses_size = ulysses};
  const SequenceDegrees found =
      sequence_degrees(options, /*heads=*/12, /*kv_heads=*/4, local_ranks);
  return {found.ring, found.ulysses};
}

using Pair = std::pair<int64_t, int64_t>;

TEST(SequenceDegrees, OfOneKind) {
  EXPECT_EQ(degrees("ulysses", 6), (Pair{1, 6}));
  EXPECT_EQ(degrees("ring", 7), (Pair{7, 1}));
  EXPECT_EQ(degrees("hybrid", 1), (Pair{1, 1}));
}

TEST(SequenceDegrees, AHybridTakesUlyssesAsFarAsKeyHeadsAndTheMachineGo) {
  EXPECT_EQ(degrees("hybrid", 4), (Pair{1, 4}));
  EXPECT_EQ(degrees("hybrid", 8), (Pair{2, 4}));
  EXPECT_EQ(degrees("hybrid", 6), (Pair{2, 3}));  // 6 divides the heads, but there are 4 keys
  EXPECT_EQ(degrees("hybrid", 5), (Pair{5, 1}));
  EXPECT_EQ(degrees("hybrid", 8, 0, 2), (Pair{4, 2}));
  EXPECT_EQ(degrees("hybrid", 12, 6), (Pair{2, 6}));  // as given: keys are repeated
}

TEST(SequenceDegrees, ThatDivideNothingAreRefusedWithThoseThatDo) {
  EXPECT_EQ(user_error([] { degrees("ulysses", 8); }),
            "--sequence_parallel_size 8: does not divide the model's 12 attention heads: use one "
            "of 1, 2, 3, 4, 6, 12, or --sequence_parallel_type hybrid");
  EXPECT_EQ(user_error([] { degrees("hybrid", 8, 3); }),
            "--ulysses_size 3: does not divide both the 8 ranks that share a sequence and the "
            "model's 12 attention heads: use one of 1, 2, 4");
  EXPECT_EQ(user_error([] { degrees("ring", 4, 2); }),
            "--ulysses_size is of --sequence_parallel_type hybrid, and that is ring");
}

}  // namespace
}  // namespace trireme::config
