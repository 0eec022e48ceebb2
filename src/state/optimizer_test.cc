#include "state/optimizer.h"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ops/testing.h"
#include "state/host_adamw.h"

namespace trireme::state {
namespace {

// One block of 8 decayed and 4 other elements.
layout::ModelLayout two_parts() {
  layout::ModelLayout layout;
  layout.blocks.push_back({{{"w", {8}, 0, 8}, {"norm", {4}, 8, 4}}, 12, 8});
  return layout;
}

ResidentParams params_of(const layout::ModelLayout& layout, const at::Tensor& values) {
  ResidentParams params(layout, at::kFloat, at::kCPU, {MasterHome{at::kCPU}});
  params.master()[0].copy_(values);
  return params;
}

TEST(AdamW, OnlyMatricesDecay) {
  const layout::ModelLayout layout = two_parts();
  const at::Tensor before = ops::random_tensor({12}, 1);
  ResidentParams params = params_of(layout, before);
  std::vector<at::Tensor> grads = {before * 0};
  AdamW(layout, params, at::kCPU, {.weight_decay = 0.5}).step(grads, 0.1);
  const at::Tensor& after = params.master()[0];
  EXPECT_LT(ops::relative_error(after.narrow(0, 0, 8), before.narrow(0, 0, 8) * 0.95), 1e-6);
  EXPECT_TRUE(after.narrow(0, 8, 4).equal(before.narrow(0, 8, 4)));
}

// The device holds nothing: a moment that stood there could not be read.
TEST(AdamW, OnTheHostNoMomentIsOnTheDevice) {
  const layout::ModelLayout layout = two_parts();
  const at::Tensor start = ops::random_tensor({12}, 1), grad = ops::random_tensor({12}, 2);
  ResidentParams a = params_of(layout, start), b = params_of(layout, start);
  device::HostArena state(plan::state_arena_bytes(layout, false, MomentFormat::kFloat32), at::kCPU);
  device::HostArena pieces(plan::host_pieces_bytes(NumberFormat::kFloat32, true), at::kCPU);
  AdamW(layout, a, at::kMeta, {.offload = config::OptimizerOffload::kCpu}, {&state, &pieces})
      .step({grad}, 0.1);
  AdamW(layout, b, at::kCPU, {}).step({grad}, 0.1);
  EXPECT_TRUE(a.master()[0].equal(b.master()[0]));
}

// Weights start at zero: they are what was changed, and are rounded relative to it, a few times.
TEST(AdamW, ClippingScalesTheGradientToTheNorm) {
  const layout::ModelLayout layout = two_parts();
  const at::Tensor start = at::zeros({12}), grad = ops::random_tensor({12}, 2);
  const double norm = grad.norm().item<double>();
  // Adam's first step does not see the gradient's scale unless epsilon is large.
  const AdamWOptions clipped{.epsilon = 10, .max_grad_norm = norm / 4}, plain{.epsilon = 10};
  ResidentParams a = params_of(layout, start), b = params_of(layout, start);
  std::vector<at::Tensor> full = {grad.clone()}, quarter = {grad / 4};
  const at::Tensor reported = AdamW(layout, a, at::kCPU, clipped).step(full, 0.1);
  AdamW(layout, b, at::kCPU, plain).step(quarter, 0.1);
  EXPECT_NEAR(reported.item<double>(), norm, 1e-6 * norm);
  EXPECT_LT(ops::relative_error(a.master()[0], b.master()[0]), 3e-6);
}

// Two blocks; steps in parts against whole ones whose gradients were scaled by hand. From zero, as
// above.
TEST(AdamW, InPartsTheNormIsThatOfTheStepBeforeOrTheBlocksOwn) {
  layout::ModelLayout layout = two_parts();
  layout.blocks.push_back(layout.blocks[0]);
  const double most = 0.5;
  const auto params = [&] {
    ResidentParams params(layout, at::kFloat, at::kCPU, {MasterHome{at::kCPU}});
    for (at::Tensor& block : params.master()) block.zero_();
    return params;
  };
  for (const bool own : {false, true}) {
    ResidentParams a = params(), b = params();
    AdamW parts(layout, a, at::kCPU, {.epsilon = 10, .max_grad_norm = most, .clip_by_block = own});
    AdamW whole(layout, b, at::kCPU, {.epsilon = 10});
    double before = 0;  // the norm of the step before
    for (int64_t step = 0; step < 3; ++step) {
      const std::vector<at::Tensor> grads = {ops::random_tensor({12}, 10 + step) * 3,
                                             ops::random_tensor({12}, 20 + step)};
      std::vector<at::Tensor> scaled;
      double squares = 0;
      parts.begin(0.1);
      for (size_t block : {1, 0}) parts.update(block, grads[block]);
      for (const at::Tensor& grad : grads) {
        const double norm = grad.norm().item<double>();
        squares += norm * norm;
        scaled.push_back(grad * std::min(1.0, most / (own || step == 0 ? norm : before)));
      }
      before = std::sqrt(squares);
      EXPECT_NEAR(parts.end().item<double>(), before, 1e-6 * before);
      whole.step(scaled, 0.1);
      for (size_t block : {0, 1}) {
        EXPECT_LT(ops::relative_error(a.master()[block], b.master()[block]), 3e-6);
      }
    }
  }
}

}  // namespace
}  // namespace trireme::state
