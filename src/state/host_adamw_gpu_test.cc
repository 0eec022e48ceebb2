// AdamW and gradients on the host while the device goes on: the bits of resident ones, though
// weights and gradients change at once again, and nothing waits.
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <optional>

#include "state/fused_grads.h"
#include "state/host_adamw.h"
#include "state/host_grads.h"

namespace trireme::state {
namespace {

constexpr int64_t kLayers = 4, kMatrix = (int64_t{40} << 20) + 640, kAll = kMatrix + 320;

layout::ModelLayout layout() {
  layout::ModelLayout layout;
  layout.blocks.push_back({{{"table", {1024}, 0, 1024}}, 1024, 1024});
  for (int64_t i = 0; i < kLayers; ++i) {
    layout.blocks.push_back(
        {{{"w", {kMatrix}, 0, kMatrix}, {"norm", {300}, kMatrix, 300}}, kAll, kMatrix});
  }
  layout.blocks.push_back({{{"head", {2048}, 0, 2048}}, 2048, 2048});
  return layout;
}

// Gradients depend on the weights as they are now: one that came late would be seen.
void backward(GradStore& store, ResidentParams& params) {
  for (int64_t block = kLayers + 1; block >= 0; --block) {
    const at::Tensor flat = store.accumulator(block);
    const at::Tensor change = params.compute()[block].to(at::kFloat).sin();
    store.take_overwrite(block) ? flat.copy_(change) : flat.add_(change, 0.5);
    store.finish(block);
  }
}

enum class Grads { kResident, kFused, kHost };

std::vector<at::Tensor> train(config::OptimizerOffload offload, Grads where) {
  const layout::ModelLayout blocks = layout();
  const bool there = offload == config::OptimizerOffload::kCpu, kept = where == Grads::kHost;
  device::HostArena state(plan::state_arena_bytes(blocks, true, MomentFormat::kFloat32), at::kCPU);
  device::HostArena arena(plan::host_pieces_bytes(NumberFormat::kBFloat16, !kept) +
                              (kept ? plan::host_grads_bytes(blocks, {}) : 0),
                          at::kCUDA);
  ResidentParams params(blocks, at::kBFloat16, at::kCUDA,
                        {there ? MasterHome{at::kCPU, &state} : MasterHome{at::Device(at::kCUDA)}});
  for (int64_t b = 0; b <= kLayers + 1; ++b) {
    const at::Tensor start =
        at::empty({blocks.blocks[b].numel}, at::TensorOptions(at::kFloat).device(at::kCUDA));
    params.fill(b, start.fill_(static_cast<double>(b + 1)));
  }
  AdamW optimizer(blocks, params, at::kCUDA,
                  {.max_grad_norm = where == Grads::kFused ? 0.0 : 10.0,
                   .offload = offload,
                   .host_grads = kept},
                  {&state, &arena});
  const std::vector<bool> overwritten(blocks.blocks.size(), true);
  std::unique_ptr<GradStore> grads;
  if (where == Grads::kResident) {
    grads = std::make_unique<ResidentGrads>(blocks, at::kCUDA, overwritten);
  } else if (where == Grads::kFused) {
    grads = std::make_unique<FusedGrads>(blocks, false, at::kCUDA, overwritten, optimizer);
  } else {
    grads = std::make_unique<HostGrads>(blocks, false, at::kCUDA, overwritten, arena);
  }
  for (int64_t step = 0; step < 4; ++step) {
    std::optional<device::NoSyncGuard> guard;
    if (step > 1) guard.emplace(at::kCUDA);
    optimizer.begin(0.01);
    grads->clear();
    for (int64_t pass = 0; pass < (where == Grads::kFused ? 1 : 3); ++pass) {
      backward(*grads, params);
    }
    grads->update(optimizer);
  }
  device::synchronize(at::kCUDA);
  EXPECT_EQ(optimizer.host_seconds() > 0, there);
  std::vector<at::Tensor> weights;
  for (const at::Tensor& block : params.compute()) weights.push_back(block.clone());
  return weights;
}

void expect_same(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(a[i].equal(b[i])) << "block " << i;
}

TEST(HostAdamWOnGpu, BesideBackwardItHasTheBitsOfTheDevice) {
  expect_same(train(config::OptimizerOffload::kCpu, Grads::kFused),
              train(config::OptimizerOffload::kNone, Grads::kFused));
}

TEST(HostAdamWOnGpu, WithGradientsOnTheHostItHasTheBitsOfTheDevice) {
  expect_same(train(config::OptimizerOffload::kCpu, Grads::kHost),
              train(config::OptimizerOffload::kNone, Grads::kResident));
}

}  // namespace
}  // namespace trireme::state
