#include "state/optimizer.h"

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

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

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

// Steps 1, 2 and 4 of one run, and in another run step 3 too, whose gradient has one bad element;
// the number of a step counts. 1e30 is finite, its square in fp32 is not; clipped, it is one.
TEST(AdamW, AStepWhoseNormIsNotFiniteIsSkipped) {
  const layout::ModelLayout layout = two_parts();
  const at::Tensor start = ops::random_tensor({12}, 1);
  for (const double most : {0.0, 0.5}) {
    for (const double bad : {kNan, kInf, -kInf, 1e30}) {
      const AdamWOptions options{.weight_decay = 0.1, .max_grad_norm = most};
      ResidentParams a = params_of(layout, start), b = params_of(layout, start);
      AdamW with(layout, a, at::kCPU, options), without(layout, b, at::kCPU, options);
      for (int64_t step = 1; step <= 4; ++step) {
        at::Tensor grad = ops::random_tensor({12}, step);
        if (step == 3) {
          grad[5] = bad;
          const bool used = most > 0 && std::isfinite(bad);
          const at::Tensor before = a.master()[0].clone();
          EXPECT_EQ(std::isfinite(with.step({grad}, 0.1).item<double>()), used);
          EXPECT_EQ(a.master()[0].equal(before), !used);
          if (used) break;
          without.begin(0.1);
        } else {
          EXPECT_TRUE(std::isfinite(with.step({grad}, 0.1).item<double>()));
          without.step({grad}, 0.1);
        }
        EXPECT_TRUE(a.master()[0].equal(b.master()[0])) << step << " " << bad;
      }
    }
  }
}

// bf16 weights with masters: what HostAdamW copies back to the device is the weight, not what its
// buffer held.
TEST(AdamW, ASkippedStepOnTheHostLeavesTheWeight) {
  const layout::ModelLayout layout = two_parts();
  ResidentParams params(layout, at::kBFloat16, at::kCPU, {MasterHome{at::kCPU}});
  params.fill(0, ops::random_tensor({12}, 1));
  const at::Tensor before = params.compute()[0].clone();
  ASSERT_FALSE(params.master()[0].is_same(params.compute()[0]));
  device::HostArena state(plan::state_arena_bytes(layout, true, MomentFormat::kFloat32), at::kCPU);
  device::HostArena pieces(plan::host_pieces_bytes(NumberFormat::kBFloat16, true), at::kCPU);
  AdamW adam(layout, params, at::kMeta, {.offload = config::OptimizerOffload::kCpu},
             {&state, &pieces});
  adam.step({at::full({12}, kNan)}, 0.1);
  EXPECT_TRUE(params.compute()[0].equal(before));
  adam.step({ops::random_tensor({12}, 2)}, 0.1);
  EXPECT_TRUE(params.compute()[0].equal(params.master()[0].to(at::kBFloat16)));
  EXPECT_FALSE(params.compute()[0].equal(before));
}

// Blocks come one after the other: the ones before the bad one are updated, it and those after it
// are not, and the next step is clipped by the last norm that was used.
TEST(AdamW, InPartsAStepIsSkippedFromTheFirstBadBlockOn) {
  layout::ModelLayout layout = two_parts();
  for (int i = 0; i < 2; ++i) layout.blocks.push_back(layout.blocks[0]);
  for (const bool own : {false, true}) {
    ResidentParams params(layout, at::kFloat, at::kCPU, {MasterHome{at::kCPU}});
    for (at::Tensor& block : params.master()) block.zero_();
    AdamW adam(layout, params, at::kCPU,
               {.epsilon = 10, .max_grad_norm = 0.5, .clip_by_block = own});
    const auto step = [&](double bad) {
      adam.begin(0.1);
      for (const size_t block : {2, 1, 0}) {
        at::Tensor grad = ops::random_tensor({12}, static_cast<int64_t>(block)) * 3;
        if (block == 1) grad[3] = bad;
        adam.update(block, grad);
      }
      return adam.end().item<double>();
    };
    EXPECT_FALSE(std::isfinite(step(kNan)));  // before there is any norm
    EXPECT_TRUE(params.master()[2].ne(0).any().item<bool>());
    for (const size_t block : {1, 0}) EXPECT_TRUE(params.master()[block].eq(0).all().item<bool>());
    EXPECT_TRUE(std::isfinite(step(1)));
    EXPECT_FALSE(std::isfinite(step(kInf)));
    EXPECT_TRUE(std::isfinite(step(1)));
    for (const at::Tensor& block : params.master()) {
      EXPECT_TRUE(block.isfinite().all().item<bool>() && block.ne(0).all().item<bool>());
    }
  }
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
