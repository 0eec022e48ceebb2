// Gradients on the host against resident ones: passes as a backward makes them, clipping, AdamW;
// all on the CPU.
#include "state/host_grads.h"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "dist/testing.h"
#include "ops/testing.h"
#include "state/host_adamw.h"
#include "state/optimizer.h"

namespace trireme::state {
namespace {

constexpr int64_t kLayers = 5, kMatrix = 60, kAll = 77;
constexpr int64_t kPasses = 3, kSteps = 3;

// An embedding, layers of 60 that decay and 13 others behind a gap of four, and a head.
layout::ModelLayout layout() {
  layout::ModelLayout layout;
  layout.blocks.push_back({{{"table", {90}, 0, 90}}, 90, 90});
  for (int64_t i = 0; i < kLayers; ++i) {
    layout.blocks.push_back(
        {{{"w", {kMatrix}, 0, kMatrix}, {"norm", {13}, 64, 13}}, kAll, kMatrix});
  }
  layout.blocks.push_back({{{"head", {50}, 0, 50}, {"norm", {8}, 50, 8}}, 58, 50});
  return layout;
}

// Layers' matrices are overwritten where a pass is the first.
std::vector<bool> overwritten() {
  std::vector<bool> blocks(kLayers + 2, true);
  blocks.front() = blocks.back() = false;
  return blocks;
}

void add(GradStore& store, const layout::ModelLayout& layout, int64_t block, uint64_t seed) {
  const layout::BlockLayout& info = layout.blocks[block];
  const at::Tensor flat = store.accumulator(block);
  const bool overwrite = store.take_overwrite(block);
  for (const layout::ParamInfo& param : info.params) {
    const at::Tensor values = ops::random_tensor({param.numel}, seed + param.offset);
    const at::Tensor to = flat.narrow(0, param.offset, param.numel);
    overwrite&& param.offset < info.decayed ? to.copy_(values) : to.add_(values);
  }
}

// A tied model's embedding has gradients from the head on.
void backward(GradStore& store, const layout::ModelLayout& layout, bool tied, uint64_t seed) {
  const int64_t head = layout.head();
  for (int64_t block = head; block >= 0; --block) {
    const auto at = seed * 1000 + static_cast<uint64_t>(block) * 100;
    add(store, layout, block, at);
    if (tied && block == head) add(store, layout, 0, at + 50);
    store.finish(block);
  }
}

struct Result {
  std::vector<at::Tensor> weights;
  std::vector<double> norms;
};

// `rank` adds gradients of its own.
Result train(bool tied, bool host, const Zero& zero = {}, uint64_t rank = 0) {
  const layout::ModelLayout blocks = layout();
  ResidentParams params(blocks, at::kFloat, at::kCPU, {}, zero);
  for (int64_t b = 0; b <= blocks.head(); ++b) {
    params.fill(b, ops::random_tensor({blocks.blocks[b].numel}, static_cast<uint64_t>(b)));
  }
  device::HostArena state(plan::state_arena_bytes(blocks, false, MomentFormat::kFloat32), at::kCPU);
  device::HostArena arena(
      plan::host_pieces_bytes(NumberFormat::kFloat32, false) + plan::host_grads_bytes(blocks, zero),
      at::kCPU);
  // A twentieth of the root mean square of clipped gradients: no element steps by its rounding.
  AdamWOptions options{.epsilon = 0.02, .max_grad_norm = 10};
  if (host) options.offload = config::OptimizerOffload::kCpu;
  options.host_grads = host;
  AdamW optimizer(blocks, params, at::kCPU, options, {&state, &arena}, zero);
  std::unique_ptr<GradStore> grads;
  if (host) {
    grads = std::make_unique<HostGrads>(blocks, tied, at::kCPU, overwritten(), arena, zero);
  } else {
    grads = std::make_unique<ResidentGrads>(blocks, at::kCPU, overwritten(), zero);
  }
  Result result;
  for (uint64_t step = 0; step < kSteps; ++step) {
    optimizer.begin(0.1);
    grads->clear();
    for (uint64_t pass = 0; pass < kPasses; ++pass) {
      grads->begin_pass(pass + 1 == kPasses);
      backward(*grads, blocks, tied, (step * kPasses + pass) * 10 + rank);
    }
    result.norms.push_back(grads->update(optimizer).item<double>());
    params.gather();
  }
  for (int64_t b = 0; b <= blocks.head(); ++b) {
    result.weights.push_back(params.whole(b).clone());
  }
  return result;
}

TEST(HostGrads, HaveTheBitsOfResidentOnes) {
  for (const bool tied : {false, true}) {
    const Result there = train(tied, true), here = train(tied, false);
    EXPECT_EQ(there.norms, here.norms);
    for (size_t b = 0; b < here.weights.size(); ++b) {
      EXPECT_TRUE(there.weights[b].equal(here.weights[b])) << tied << " block " << b;
    }
  }
}

TEST(HostGrads, OverRanksWhatIsThereCountsOnce) {
  for (const int64_t stage : {0, 1, 2}) {
    constexpr config::Axis kSpans[] = {config::Axis::kData, config::Axis::kShards};
    dist::run_ranks({.data = 4}, kSpans, [&](const dist::Mesh& mesh) {
      const Zero zero(mesh, stage);
      const auto rank = static_cast<uint64_t>(zero.index);
      const Result there = train(true, true, zero, rank), here = train(true, false, zero, rank);
      for (int64_t step = 0; step < kSteps; ++step) {
        EXPECT_NEAR(there.norms[step], here.norms[step], 1e-5 * here.norms[step]);
      }
      for (size_t b = 0; b < here.weights.size(); ++b) {
        EXPECT_LT(ops::relative_error(there.weights[b], here.weights[b]), 1e-6) << "block " << b;
      }
    });
  }
}

}  // namespace
}  // namespace trireme::state
