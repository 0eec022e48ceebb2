#include "engine/fused_grads.h"

#include <ATen/ops/empty.h>

#include "base/error.h"

namespace trireme::engine {

FusedGrads::FusedGrads(const model::ModelLayout& layout, bool tied, const at::Device& device,
                       std::vector<bool> overwritten, AdamW& optimizer, const Zero& zero)
    : layout_(layout),
      zero_(zero),
      overwritten_(std::move(overwritten)),
      optimizer_(optimizer),
      sizes_(layout, zero, tied),
      side_(make_side_stream(device)) {
  for (const int64_t numel : sizes_.sizes) {
    buffers_.push_back({at::empty({numel}, at::TensorOptions(at::kFloat).device(device)), -1, {}});
  }
}

at::Tensor FusedGrads::accumulator(int64_t block) {
  Buffer& buffer = buffers_[sizes_.of(block)];
  const model::BlockLayout& info = layout_.blocks[block];
  const at::Tensor flat = buffer.memory.narrow(0, 0, info.numel);
  if (buffer.block == block) return flat;
  TRIREME_CHECK(buffer.block < 0, "gradients of block {} are wanted before those of {} are done",
                block, buffer.block);
  if (buffer.arrival) buffer.arrival->wait();
  buffer.block = block;
  clear_accumulator(info, overwritten_[block],
                    buffer.memory.narrow(0, 0, zero_.padded(info.numel)));
  fresh_ = overwritten_[block];
  return flat;
}

bool FusedGrads::take_fresh(int64_t) {
  const bool fresh = fresh_;
  fresh_ = false;
  return fresh;
}

void FusedGrads::finish(int64_t block) {
  Buffer& buffer = buffers_[sizes_.of(block)];
  TRIREME_CHECK(buffer.block == block);
  const at::Tensor flat = buffer.memory.narrow(0, 0, zero_.padded(layout_.blocks[block].numel));
  buffer.arrival = side_->run([&] {
    zero_.reduce(flat)->wait();
    optimizer_.update(static_cast<size_t>(block), zero_.mine(flat));
  });
  buffer.block = -1;
}

void FusedGrads::clear() {
  for (Buffer& buffer : buffers_) {
    buffer.block = -1;
    if (buffer.arrival) buffer.arrival->wait();
  }
}

}  // namespace trireme::engine
