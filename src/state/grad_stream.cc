#include "state/grad_stream.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <utility>

#include "base/error.h"

namespace trireme::state {

GradStream::GradStream(const layout::ModelLayout& layout, bool tied, const at::Device& device,
                       std::vector<bool> overwritten, const Zero& zero)
    : layout_(layout),
      zero_(zero),
      overwritten_(std::move(overwritten)),
      sizes_(layout, zero, tied),
      side_(device::make_side_stream(device)) {
  for (const int64_t numel : sizes_.sizes) {
    buffers_.emplace_back().memory =
        at::empty({numel}, at::TensorOptions(at::kFloat).device(device));
  }
}

at::Tensor GradStream::flat(const Buffer& buffer, int64_t block) const {
  return buffer.memory.narrow(0, 0, zero_.padded(layout_.blocks[block].numel));
}

void GradStream::ready(int64_t block) {
  Buffer& buffer = buffer_of(block);
  TRIREME_CHECK(buffer.block < 0, "gradients of block {} are wanted before those of {} are done",
                block, buffer.block);
  take_sum(buffer);
  buffer.block = block;
  buffer.overwrite = overwritten_[block] && !holds(block);
  buffer.arrival = side_->run([&] {
    const at::Tensor all = flat(buffer, block), mine = zero_.mine(all);
    // An earlier sum must be counted once, not once for each rank.
    const bool whole = zero_.ranks == 1, ours = zero_.states() || zero_.index == 0;
    if (!holds(block) || !whole) clear_accumulator(layout_.blocks[block], buffer.overwrite, all);
    if (holds(block) && ours) fetch(block, mine);
  });
}

at::Tensor GradStream::accumulator(int64_t block) {
  Buffer& buffer = buffer_of(block);
  if (buffer.block != block) ready(block);
  buffer.arrival->wait();
  // A tied model's embedding is there already.
  const int64_t next = block - 1;
  const bool free = next >= 0 && buffer_of(next).block < 0 && buffer_of(next).summed < 0;
  if (free && layout_.blocks[next].numel > 0) ready(next);
  return buffer.memory.narrow(0, 0, layout_.blocks[block].numel);
}

bool GradStream::take_overwrite(int64_t block) {
  return std::exchange(buffer_of(block).overwrite, false);
}

void GradStream::finish(int64_t block) {
  Buffer& buffer = buffer_of(block);
  TRIREME_CHECK(buffer.block == block);
  buffer.block = -1;
  buffer.summed = block;
  buffer.arrival = side_->run([&] { buffer.pending = zero_.reduce(flat(buffer, block)); });
  if (zero_.ranks == 1) take_sum(buffer);
}

void GradStream::take_sum(Buffer& buffer) {
  if (buffer.summed < 0) return;
  const int64_t block = std::exchange(buffer.summed, -1);
  buffer.arrival = side_->run([&] {
    buffer.pending->wait();
    take(block, zero_.mine(flat(buffer, block)));
  });
}

void GradStream::clear() {
  settle();
  for (Buffer& buffer : buffers_) buffer.block = -1;
}

void GradStream::settle() {
  for (Buffer& buffer : buffers_) {
    take_sum(buffer);
    if (buffer.arrival) buffer.arrival->wait();
  }
}

ShardedGrads::ShardedGrads(const layout::ModelLayout& layout, bool tied, const at::Device& device,
                           std::vector<bool> overwritten, const Zero& zero)
    : GradStream(layout, tied, device, std::move(overwritten), zero) {
  for (const layout::BlockLayout& block : layout.blocks) {
    sums_.push_back(
        at::zeros({zero.shard(block.numel).size}, at::TensorOptions(at::kFloat).device(device)));
  }
}

void ShardedGrads::clear() {
  GradStream::clear();
  for (const at::Tensor& sum : sums_) sum.zero_();
}

std::vector<at::Tensor>& ShardedGrads::sums() {
  settle();
  return sums_;
}

}  // namespace trireme::state
