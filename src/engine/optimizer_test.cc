#include "engine/optimizer.h"

#include <gtest/gtest.h>

#include "ops/testing.h"

namespace trireme::engine {
namespace {

// One block of 8 decayed and 4 other elements.
model::ModelLayout two_parts() {
  model::ModelLayout layout;
  layout.blocks.push_back({{{"w", {8}, 0, 8}, {"norm", {4}, 8, 4}}, 12, 8});
  return layout;
}

TEST(AdamW, OnlyMatricesDecay) {
  const model::ModelLayout layout = two_parts();
  const at::Tensor before = ops::random_tensor({12}, 1);
  std::vector<at::Tensor> weights = {before.clone()}, grads = {before * 0};
  AdamW(layout, weights, {.weight_decay = 0.5}).step(weights, grads, 0.1);
  EXPECT_LT(ops::relative_error(weights[0].narrow(0, 0, 8), before.narrow(0, 0, 8) * 0.95), 1e-6);
  EXPECT_TRUE(weights[0].narrow(0, 8, 4).equal(before.narrow(0, 8, 4)));
}

TEST(AdamW, ClippingScalesTheGradientToTheNorm) {
  const model::ModelLayout layout = two_parts();
  const at::Tensor start = ops::random_tensor({12}, 1), grad = ops::random_tensor({12}, 2);
  const double norm = grad.norm().item<double>();
  // Adam's first step does not see the gradient's scale unless epsilon is large.
  const AdamWOptions clipped{.epsilon = 10, .max_grad_norm = norm / 4}, plain{.epsilon = 10};
  std::vector<at::Tensor> a = {start.clone()}, b = {start.clone()}, full = {grad.clone()},
                          quarter = {grad / 4};
  const at::Tensor reported = AdamW(layout, a, clipped).step(a, full, 0.1);
  AdamW(layout, b, plain).step(b, quarter, 0.1);
  EXPECT_NEAR(reported.item<double>(), norm, 1e-6 * norm);
  EXPECT_LT(ops::relative_error(a[0] - start, b[0] - start), 1e-5);
}

}  // namespace
}  // namespace trireme::engine
