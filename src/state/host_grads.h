// Gradients that lie in pinned host memory, and on the device only while backward adds to them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "device/host_arena.h"
#include "state/grad_stream.h"

namespace trireme::state {

class HostGrads : public GradStream {
 public:
  // Parameters as for GradStream. `arena` has room for plan::host_grads_bytes() and outlives this.
  // Waits until it is pinned.
  HostGrads(const layout::ModelLayout& layout, bool tied, const at::Device& device,
            std::vector<bool> overwritten, device::HostArena& arena, const Zero& zero = {});

  void clear() override;
  std::vector<at::Tensor>& sums() override;
  at::Tensor update(AdamW& optimizer) override;

 protected:
  bool holds(int64_t block) const override { return squares_[block].defined(); }
  void fetch(int64_t block, const at::Tensor& mine) override;
  void take(int64_t block, const at::Tensor& mine) override;

 private:
  std::unique_ptr<device::Transfer> transfer_;
  std::vector<at::Tensor> blocks_;  // shards, on the host
  // The sum of squares of each block's shard, computed on the device, so that the norm has the same
  // bits as for gradients that stay there. 0-dim fp64; undefined if the block has no gradient yet.
  std::vector<at::Tensor> squares_;
};

}  // namespace trireme::state
