// Gradients that lie in pinned host memory, and on the device only while backward adds to them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/grad_stream.h"
#include "engine/host_arena.h"

namespace trireme::engine {

class HostGrads : public GradStream {
 public:
  // Of the arena's slots.
  static int64_t arena_bytes(const model::ModelLayout& layout, const layout::Sharding& sharding);

  // As GradStream's. `arena` has room for arena_bytes() and outlives this; waits until it is
  // pinned.
  HostGrads(const model::ModelLayout& layout, bool tied, const at::Device& device,
            std::vector<bool> overwritten, HostArena& arena, const Zero& zero = {});

  void clear() override;
  std::vector<at::Tensor>& sums() override;
  at::Tensor update(AdamW& optimizer) override;

 protected:
  bool holds(int64_t block) const override { return squares_[block].defined(); }
  void fetch(int64_t block, const at::Tensor& mine) override;
  void take(int64_t block, const at::Tensor& mine) override;

 private:
  std::unique_ptr<Transfer> transfer_;
  std::vector<at::Tensor> blocks_;  // shards, on the host
  // Of each block's shard, taken on the device: the norm then has the bits of gradients that stay
  // there. 0-dim fp64; undefined: the block has no gradient yet.
  std::vector<at::Tensor> squares_;
};

}  // namespace trireme::engine
