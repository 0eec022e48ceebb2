#include "dist/gather_texts.h"

#include <gtest/gtest.h>

#include "dist/testing.h"

namespace trireme::dist {
namespace {

TEST(GatherTexts, OfAnyLengthInTheOrderOfRanks) {
  run_ranks({.data = 3}, {}, [](const Mesh& mesh) {
    const std::string mine(static_cast<size_t>(2 * mesh.rank()), 'x');
    EXPECT_EQ(gather_texts(mine, mesh.control()), (std::vector<std::string>{"", "xx", "xxxx"}));
  });
}

TEST(GatherTexts, OfOneRankIsItsOwn) {
  EXPECT_EQ(gather_texts("alone", Mesh().control()), std::vector<std::string>{"alone"});
}

}  // namespace
}  // namespace trireme::dist
