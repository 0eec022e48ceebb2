#include "engine/param_stream.h"

#include <ATen/ops/empty.h>

#include "base/error.h"

namespace trireme::engine {

ParamStream::ParamStream(const model::ModelLayout& layout, const std::vector<at::Tensor>& blocks,
                         const at::Device& device, HostArena& arena)
    : blocks_(blocks), arena_(arena), transfer_(make_transfer(device, arena)) {
  const int64_t numel = widest_layer(layout);
  for (Slot& slot : slots_) {
    slot.memory = at::empty({numel}, blocks[1].options().device(device));
  }
}

bool ParamStream::is_layer(int64_t block) const {
  return block > 0 && block < std::ssize(blocks_) - 1;
}

Lease ParamStream::lease(int64_t block) {
  TRIREME_CHECK(is_layer(block));
  arena_.wait_until_pinned();
  Slot& slot = fetch(block);
  slot.arrival->wait();
  const int64_t next = block >= last_ ? block + 1 : block - 1;
  last_ = block;
  if (is_layer(next)) fetch(next);
  return Lease(slot.memory.narrow(0, 0, blocks_[block].numel()));
}

// What is in the other slot was asked for last and may be at work still.
ParamStream::Slot& ParamStream::fetch(int64_t block) {
  for (Slot& slot : slots_) {
    if (slot.block == block) return slot;
  }
  Slot& slot = slots_[0].block == last_ ? slots_[1] : slots_[0];
  // A layer that came and was not asked for after all.
  if (slot.arrival) slot.arrival->wait();
  slot.block = block;
  slot.copies = {{blocks_[block], slot.memory.narrow(0, 0, blocks_[block].numel())}};
  slot.arrival = transfer_->start(Direction::kToDevice, slot.copies);
  return slot;
}

}  // namespace trireme::engine
