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

TEST(Schedule, StaysAtItsEndBeyondTheTotal) {
  EXPECT_DOUBLE_EQ((Schedule{config::LrScheduler::kLinear, 1.0, 0, 10}.at(15)), 0.0);
  EXPECT_NEAR((Schedule{config::LrScheduler::kCosine, 1.0, 0, 10}.at(15)), 0.0, 1e-12);
  EXPECT_DOUBLE_EQ((Schedule{config::LrScheduler::kLinear, 1.0, 5, 3}.at(7)),
                   0.0);  // more warm-up than steps
}

}  // namespace
}  // namespace trireme::train
