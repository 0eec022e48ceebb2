#include "ops/dropout.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "ops/testing.h"

namespace trireme::ops {
namespace {

TEST(Dropout, KeepsItsShareAndTheMean) {
  const at::Tensor y = dropout(at::ones({1000, 1000}), 0.2, 7);
  // Six standard deviations of a million draws.
  EXPECT_NEAR(y.gt(0).to(at::kDouble).mean().item<double>(), 0.8, 0.0024);
  EXPECT_NEAR(y.to(at::kDouble).mean().item<double>(), 1.0, 0.003);
  EXPECT_FLOAT_EQ(y.max().item<float>(), 1.25f);
}

TEST(Dropout, TheSeedIsTheMask) {
  const at::Tensor x = random_tensor({61, 33}, 1);
  EXPECT_TRUE(dropout(x, 0.5, 3).equal(dropout(x, 0.5, 3)));
  EXPECT_FALSE(dropout(x, 0.5, 3).equal(dropout(x, 0.5, 4)));
  EXPECT_TRUE(dropout(x, 0, 3).equal(x));
}

TEST(Dropout, AddIsTheAdjoint) {
  const at::Tensor x = random_tensor({61, 33}, 1), du = random_tensor({61, 33}, 2);
  at::Tensor dx = at::zeros({61, 33});
  dropout_add_(dx, du, 0.3, 5);
  EXPECT_NEAR(inner(dx, x), inner(du, dropout(x, 0.3, 5)), 1e-3);
  dropout_add_(dx, du, 0.3, 5);
  EXPECT_LT(relative_error(dx, dropout(du, 0.3, 5) * 2), 1e-6);
}

}  // namespace
}  // namespace trireme::ops
