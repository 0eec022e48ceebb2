#include "ops/rope.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>

namespace trireme::ops {
namespace {

// Angles are fp32 products, as models are trained with: one rounding of the exact product, half a
// unit in the last place of up to 2^20 radians. Their cosines and sines are exact to fp32.
TEST(RopeTable, AtPositionsOfAMillion) {
  constexpr int64_t kHalf = 64;
  constexpr double kTheta = 1e6;
  const at::Tensor frequencies =
      at::pow(kTheta, at::arange(kHalf, at::kDouble) / -static_cast<double>(kHalf)).to(at::kFloat);
  const std::vector<int64_t> list = {0, 1, 999'999, 1'000'000, 1'048'575};
  const at::Tensor positions = at::tensor(list, at::kLong);
  const auto [cos, sin] = rope_table(positions, frequencies);
  for (int64_t p = 0; p < std::ssize(list); ++p) {
    for (int64_t i = 0; i < kHalf; ++i) {
      const double exact = static_cast<double>(list[p]) * frequencies[i].item<double>();
      const auto angle = static_cast<float>(exact);
      EXPECT_LE(std::abs(static_cast<double>(angle) - exact), std::ldexp(exact, -24));
      EXPECT_NEAR(cos[p][i].item<double>(), std::cos(static_cast<double>(angle)), 2e-7);
      EXPECT_NEAR(sin[p][i].item<double>(), std::sin(static_cast<double>(angle)), 2e-7);
    }
  }
}

}  // namespace
}  // namespace trireme::ops
