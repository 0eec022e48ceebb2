#include "engine/host_grads.h"

#include <algorithm>
#include <utility>

#include "engine/optimizer.h"
#include "ops/adamw.h"

namespace trireme::engine {

int64_t HostGrads::arena_bytes(const model::ModelLayout& layout, const layout::Sharding& sharding) {
  int64_t bytes = 0;
  for (const model::BlockLayout& block : layout.blocks) {
    bytes += HostArena::slot_bytes(4 * sharding.shard(block.numel).size);
  }
  return bytes;
}

HostGrads::HostGrads(const model::ModelLayout& layout, bool tied, const at::Device& device,
                     std::vector<bool> overwritten, HostArena& arena, const Zero& zero)
    : GradStream(layout, tied, device, std::move(overwritten), zero),
      transfer_(make_transfer(device, arena)),
      squares_(layout.blocks.size()) {
  arena.wait_until_pinned();
  for (const model::BlockLayout& block : layout.blocks) {
    blocks_.push_back(arena.take(zero.shard(block.numel).size, at::kFloat));
  }
}

void HostGrads::clear() {
  GradStream::clear();
  std::ranges::fill(squares_, at::Tensor());
}

std::vector<at::Tensor>& HostGrads::sums() {
  settle();
  return blocks_;
}

at::Tensor HostGrads::update(AdamW& optimizer) { return optimizer.step(sums(), squares_); }

void HostGrads::fetch(int64_t block, const at::Tensor& mine) {
  transfer_->start(Direction::kToDevice, {{blocks_[block], mine}})->wait();
}

void HostGrads::take(int64_t block, const at::Tensor& mine) {
  squares_[block] = ops::sum_of_squares(mine);
  transfer_->start(Direction::kToHost, {{mine, blocks_[block]}})->wait();
}

}  // namespace trireme::engine
