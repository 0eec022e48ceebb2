#include "layout/sequence.h"

#include <gtest/gtest.h>

namespace trireme::layout {
namespace {

using Bounds = std::vector<int64_t>;

TEST(EvenCut, ThePartsAreAlikeAndCoverAll) {
  EXPECT_EQ(even_cut(8, 1), (Bounds{0, 8}));
  EXPECT_EQ(even_cut(8, 4), (Bounds{0, 2, 4, 6, 8}));
  EXPECT_EQ(even_cut(11, 4), (Bounds{0, 3, 6, 9, 11}));
  EXPECT_EQ(even_cut(2, 4), (Bounds{0, 1, 2, 2, 2}));
  EXPECT_EQ(even_cut(0, 2), (Bounds{0, 0, 0}));
}

TEST(EvenCut, OfMoreTokensThanThirtyTwoBitsHold) {
  const Bounds bounds = even_cut((int64_t{1} << 40) + 3, 8);
  EXPECT_EQ(bounds[1], (int64_t{1} << 37) + 1);
  EXPECT_EQ(bounds.back(), (int64_t{1} << 40) + 3);
}

}  // namespace
}  // namespace trireme::layout
