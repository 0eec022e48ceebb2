#include "engine/fused_grads.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "base/error.h"

namespace trireme::engine {
namespace {

constexpr size_t kLayerBuffers = 2, kEmbedding = 2, kHead = 3;

}  // namespace

std::vector<int64_t> FusedGrads::buffer_sizes(const model::ModelLayout& layout, bool tied) {
  const int64_t layer = widest_layer(layout), embedding = layout.blocks.front().numel,
                head = layout.blocks.back().numel;
  if (tied) return {layer, layer, embedding, head};
  return {layer, layer, std::max(embedding, head)};
}

FusedGrads::FusedGrads(const model::ModelLayout& layout, bool tied, const at::Device& device,
                       std::vector<bool> overwritten, AdamW& optimizer)
    : layout_(layout),
      tied_(tied),
      overwritten_(std::move(overwritten)),
      optimizer_(optimizer),
      side_(make_side_stream(device)) {
  for (const int64_t numel : buffer_sizes(layout, tied)) {
    buffers_.push_back({at::empty({numel}, at::TensorOptions(at::kFloat).device(device)), -1, {}});
  }
}

size_t FusedGrads::buffer_of(int64_t block) const {
  if (block == 0) return kEmbedding;
  if (block == layout_.head_block()) return tied_ ? kHead : kEmbedding;
  return static_cast<size_t>(block) % kLayerBuffers;
}

at::Tensor FusedGrads::accumulator(int64_t block) {
  Buffer& buffer = buffers_[buffer_of(block)];
  const model::BlockLayout& info = layout_.blocks[block];
  const at::Tensor flat = buffer.memory.narrow(0, 0, info.numel);
  if (buffer.block == block) return flat;
  TRIREME_CHECK(buffer.block < 0, "gradients of block {} are wanted before those of {} are done",
                block, buffer.block);
  if (buffer.arrival) buffer.arrival->wait();
  buffer.block = block;
  clear_accumulator(info, overwritten_[block], flat);
  fresh_ = overwritten_[block];
  return flat;
}

bool FusedGrads::take_fresh(int64_t) {
  const bool fresh = fresh_;
  fresh_ = false;
  return fresh;
}

void FusedGrads::finish(int64_t block) {
  Buffer& buffer = buffers_[buffer_of(block)];
  TRIREME_CHECK(buffer.block == block);
  const at::Tensor flat = buffer.memory.narrow(0, 0, layout_.blocks[block].numel);
  buffer.arrival = side_->run([&] { optimizer_.update(static_cast<size_t>(block), flat); });
  buffer.block = -1;
}

void FusedGrads::clear() {
  for (Buffer& buffer : buffers_) {
    buffer.block = -1;
    if (buffer.arrival) buffer.arrival->wait();
  }
}

}  // namespace trireme::engine
