#include "train/schedule.h"

#include <gtest/gtest.h>

namespace trireme::train {
namespace {

// Values of transformers 5.17's schedules with 4 warm-up steps of 12.
TEST(Schedule, FollowsTransformers) {
  const Schedule cosine{config::LrScheduler::kCosine, 1.0, 4, 12},
      linear{config::LrScheduler::kLinear, 1.0, 4, 12},
      constant{config::LrScheduler::kConstant, 1.0, 4, 12};
  for (const Schedule& s : {cosine, linear, constant}) {
    EXPECT_DOUBLE_EQ(s.at(0), 0.0);
    EXPECT_DOUBLE_EQ(s.at(1), 0.25);
    EXPECT_DOUBLE_EQ(s.at(4), 1.0);
  }
  EXPECT_NEAR(cosine.at(6), 0.8535533905932737, 1e-12);
  EXPECT_NEAR(cosine.at(8), 0.5, 1e-12);
  EXPECT_DOUBLE_EQ(linear.at(6), 0.75);
  EXPECT_DOUBLE_EQ(constant.at(11), 1.0);
}

// Values of DeepSpeed 0.19.8's WarmupLR with 4 warm-up steps, and with 1, which it takes for 2.
TEST(Schedule, LogarithmicWarmUpFollowsDeepSpeed) {
  const Schedule four{config::LrScheduler::kConstant, 1.0, 4, 12, config::Warmup::kLog};
  EXPECT_DOUBLE_EQ(four.at(0), 0.0);
  EXPECT_DOUBLE_EQ(four.at(1), 0.5);
  EXPECT_NEAR(four.at(2), 0.7924812503605781, 1e-12);
  EXPECT_DOUBLE_EQ(four.at(3), 1.0);
  EXPECT_DOUBLE_EQ(four.at(4), 1.0);
  const Schedule one{config::LrScheduler::kConstant, 1.0, 1, 12, config::Warmup::kLog};
  EXPECT_DOUBLE_EQ(one.at(0), 0.0);
  EXPECT_DOUBLE_EQ(one.at(1), 1.0);
}

TEST(Schedule, StaysAtItsEndBeyondTheTotal) {
  EXPECT_DOUBLE_EQ((Schedule{config::LrScheduler::kLinear, 1.0, 0, 10}.at(15)), 0.0);
  EXPECT_NEAR((Schedule{config::LrScheduler::kCosine, 1.0, 0, 10}.at(15)), 0.0, 1e-12);
  EXPECT_DOUBLE_EQ((Schedule{config::LrScheduler::kLinear, 1.0, 5, 3}.at(7)),
                   0.0);  // more warm-up than steps
}

}  // namespace
}  // namespace trireme::train
