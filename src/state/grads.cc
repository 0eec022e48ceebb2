#include "state/grads.h"

#include <ATen/ops/zeros.h>

#include "base/error.h"
#include "model/params.h"
#include "state/optimizer.h"

namespace trireme::state {

void clear_accumulator(const layout::BlockLayout& block, bool overwritten, const at::Tensor& flat) {
  overwritten ? model::zero_gaps(block, block.decayed, flat) : static_cast<void>(flat.zero_());
}

at::Tensor GradStore::update(AdamW& optimizer) {
  const std::vector<at::Tensor>& grads = sums();
  return optimizer.step(grads, squares_of(grads));
}

ResidentGrads::ResidentGrads(const layout::ModelLayout& layout, const at::Device& device,
                             std::vector<bool> overwritten, const Zero& zero)
    : layout_(layout),
      zero_(zero),
      overwritten_(std::move(overwritten)),
      overwrite_next_(layout.blocks.size()),
      pending_(layout.blocks.size()) {
  TRIREME_CHECK(overwritten_.size() == layout.blocks.size());
  for (const layout::BlockLayout& block : layout.blocks) {
    blocks_.push_back(
        at::zeros({zero.padded(block.numel)}, at::TensorOptions(at::kFloat).device(device)));
    sums_.push_back(zero.mine(blocks_.back()));
  }
}

at::Tensor ResidentGrads::accumulator(int64_t block) {
  return blocks_[block].narrow(0, 0, layout_.blocks[block].numel);
}

bool ResidentGrads::take_overwrite(int64_t block) {
  const bool overwrite = overwrite_next_[block];
  overwrite_next_[block] = false;
  return overwrite;
}

void ResidentGrads::finish(int64_t block) {
  if (last_ && blocks_[block].numel() > 0) pending_[block] = zero_.reduce(blocks_[block]);
}

void ResidentGrads::clear() {
  overwrite_next_ = overwritten_;
  for (size_t b = 0; b < blocks_.size(); ++b) {
    clear_accumulator(layout_.blocks[b], overwritten_[b], blocks_[b]);
  }
}

std::vector<at::Tensor>& ResidentGrads::sums() {
  for (dist::PendingPtr& pending : pending_) {
    if (pending) pending->wait();
    pending.reset();
  }
  return sums_;
}

}  // namespace trireme::state
