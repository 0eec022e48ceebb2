#include "device/profile.h"

#include <gtest/gtest.h>

namespace trireme::device {
namespace {

constexpr double kNanosecond = 1e-9, kNear = 1e-15;

// A product under which an exchange begins that ends alone but for a copy; then nothing; then
// attention in backward, under which another begins that ends after it.
TEST(Profile, TellsWhatIsIdleAndWhichExchangesAreExposed) {
  const Profile profile = summarise({{"flash_bwd", 20, 30},
                                     {"nvjet_sm90", 0, 10},
                                     {"ncclDevKernel_SendRecv", 5, 15},
                                     {"Memcpy DtoH", 12, 13},
                                     {"ncclDevKernel_SendRecv", 21, 32}},
                                    {{"forward", 0, 18}, {"backward", 19, 40}});
  EXPECT_NEAR(profile.seconds, 32 * kNanosecond, kNear);
  EXPECT_NEAR(profile.idle, 5 * kNanosecond, kNear);
  EXPECT_NEAR(profile.exposed, 6 * kNanosecond, kNear);
  EXPECT_NEAR(profile.phases.at("forward"), 21 * kNanosecond, kNear);
  EXPECT_NEAR(profile.kinds.at("forward").at("exchange"), 10 * kNanosecond, kNear);
  EXPECT_NEAR(profile.kinds.at("backward").at("attention"), 10 * kNanosecond, kNear);
  ASSERT_EQ(profile.kernels.size(), 4U);
  EXPECT_EQ(profile.kernels.front().name, "ncclDevKernel_SendRecv");
  EXPECT_EQ(profile.kernels.front().calls, 2);
}

TEST(Profile, OfNothingIsEmpty) {
  const Profile profile = summarise({}, {{"forward", 0, 18}});
  EXPECT_EQ(profile.seconds, 0);
  EXPECT_TRUE(profile.phases.empty());
}

}  // namespace
}  // namespace trireme::device
