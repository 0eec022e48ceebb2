#include "state/host_grads.h"

#include <algorithm>
#include <utility>

#include "ops/adamw.h"
#include "state/optimizer.h"

namespace trireme::state {

HostGrads::HostGrads(const layout::ModelLayout& layout, bool tied, const at::Device& device,
                     std::vector<bool> overwritten, device::HostArena& arena, const Zero& zero)
    : GradStream(layout, tied, device, std::move(overwritten), zero),
      transfer_(device::make_transfer(device, arena)),
      squares_(layout.blocks.size()) {
  arena.wait_until_pinned();
  for (const layout::BlockLayout& block : layout.blocks) {
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
  transfer_->start(device::Direction::kToDevice, {{blocks_[block], mine}})->wait();
}

void HostGrads::take(int64_t block, const at::Tensor& mine) {
  squares_[block] = ops::sum_of_squares(mine);
  transfer_->start(device::Direction::kToHost, {{mine, blocks_[block]}})->wait();
}

}  // namespace trireme::state
