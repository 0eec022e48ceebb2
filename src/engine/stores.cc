#include "engine/stores.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "base/error.h"
#include "model/model_io.h"

namespace trireme::engine {
namespace {

// Zeroes what lies between tensors, and leaves the rest for load() to fill: a pass over the whole
// would cost as much as reading a checkpoint that the system has cached.
void zero_gaps(const model::BlockLayout& block, at::Tensor& flat) {
  int64_t end = 0;
  for (const model::ParamInfo& info : block.params) {
    flat.narrow(0, end, info.offset - end).zero_();
    end = info.offset + info.numel;
  }
  flat.narrow(0, end, block.numel - end).zero_();
}

std::vector<at::Tensor> allocate(const model::ModelLayout& layout, at::ScalarType dtype,
                                 const at::Device& device, HostArena* all, HostArena* layers) {
  std::vector<at::Tensor> blocks;
  for (int64_t b = 0; b <= layout.head_block(); ++b) {
    const model::BlockLayout& block = layout.blocks[b];
    HostArena* arena = all == nullptr && b > 0 && b < layout.head_block() ? layers : all;
    blocks.push_back(arena != nullptr
                         ? arena->take(block.numel, dtype)
                         : at::empty({block.numel}, at::TensorOptions(dtype).device(device)));
    zero_gaps(block, blocks.back());
  }
  return blocks;
}

}  // namespace

ResidentParams::ResidentParams(const model::ModelLayout& layout, at::ScalarType dtype,
                               const at::Device& device, WeightHomes homes)
    : layout_(layout), compute_(allocate(layout, dtype, device, nullptr, homes.layers)) {
  const std::optional<MasterHome>& master = homes.master;
  const bool apart = master && (dtype != at::kFloat || master->device != device);
  master_ = apart ? allocate(layout, at::kFloat, master->device, master->arena, nullptr) : compute_;
}

void ResidentParams::load(const io::Checkpoint& checkpoint) {
  model::load_checkpoint(layout_, checkpoint, master_);
  refresh();
}

void ResidentParams::refresh() {
  for (size_t b = 0; b < compute_.size(); ++b) {
    if (!compute_[b].is_same(master_[b])) compute_[b].copy_(master_[b]);
  }
}

int64_t widest_layer(const model::ModelLayout& layout) {
  int64_t most = 0;
  for (int64_t b = 1; b < layout.head_block(); ++b) {
    most = std::max(most, layout.blocks[b].numel);
  }
  return most;
}

void clear_accumulator(const model::BlockLayout& block, bool overwritten, const at::Tensor& flat) {
  const int64_t kept = overwritten ? block.decayed : 0;
  flat.narrow(0, kept, block.numel - kept).zero_();
}

ResidentGrads::ResidentGrads(const model::ModelLayout& layout, const at::Device& device,
                             std::vector<bool> overwritten)
    : layout_(layout), overwritten_(std::move(overwritten)), fresh_(layout.blocks.size()) {
  TRIREME_CHECK(overwritten_.size() == layout.blocks.size());
  for (const model::BlockLayout& block : layout.blocks) {
    blocks_.push_back(at::zeros({block.numel}, at::TensorOptions(at::kFloat).device(device)));
  }
}

bool ResidentGrads::take_fresh(int64_t block) {
  const bool fresh = fresh_[block];
  fresh_[block] = false;
  return fresh;
}

void ResidentGrads::clear() {
  fresh_ = overwritten_;
  for (size_t b = 0; b < blocks_.size(); ++b) {
    clear_accumulator(layout_.blocks[b], overwritten_[b], blocks_[b]);
  }
}

}  // namespace trireme::engine
