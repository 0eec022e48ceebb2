#include "train/snapshot.h"

#include <algorithm>

#include "device/machine.h"

namespace trireme::train {
namespace {

// Elements of a block that are converted at a time: a quarter GiB of fp32 on the device.
constexpr int64_t kChunk = int64_t{64} << 20;

}  // namespace

Snapshot::Snapshot(const CheckpointSources& sources, device::HostArena& arena,
                   const at::Device& device, int64_t bytes, bool first_rank)
    : sources_(sources),
      arena_(arena),
      device_(device),
      bytes_(bytes),
      first_rank_(first_rank),
      transfer_(device::make_transfer(device, arena)) {}

// At the first checkpoint: until then the memory is pinned beside training.
void Snapshot::allocate() {
  arena_.wait_until_pinned();
  for (const state::StatePart& part :
       state::state_parts(sources_.params, sources_.optimizer, sources_.zero)) {
    const ops::Moments& moments = part.moments;
    copies_.push_back({part.block,
                       part.first,
                       part.count,
                       room_for(part.weight),
                       {room_for(moments.first), room_for(moments.second),
                        room_for(moments.first_absmax), room_for(moments.second_absmax)}});
  }
  if (!first_rank_) return;
  for (const layout::BlockLayout& block : sources_.layout.blocks) {
    blocks_.push_back(arena_.take(block.numel, bytes_ == 2 ? at::kBFloat16 : at::kFloat));
  }
}

at::Tensor Snapshot::room_for(const at::Tensor& like) {
  return like.defined() ? arena_.take(like.numel(), like.scalar_type()) : at::Tensor();
}

void Snapshot::copy(const at::Tensor& from, const at::Tensor& to) {
  if (!from.defined() || from.numel() == 0) return;
  if (from.is_cpu()) {  // state that lives on the host
    to.copy_(from);
  } else {
    transfer_->start(device::Direction::kToHost, {{from, to}})->wait();
  }
}

void Snapshot::copy_block(const at::Tensor& whole, const at::Tensor& to) {
  for (int64_t first = 0; first < whole.numel(); first += kChunk) {
    const int64_t count = std::min(kChunk, whole.numel() - first);
    copy(whole.narrow(0, first, count).to(to.scalar_type()), to.narrow(0, first, count));
  }
}

void Snapshot::take() {
  if (copies_.empty() && blocks_.empty()) allocate();
  const auto parts = state::state_parts(sources_.params, sources_.optimizer, sources_.zero);
  for (size_t i = 0; i < parts.size(); ++i) {
    copy(parts[i].weight, copies_[i].weight);
    copy(parts[i].moments.first, copies_[i].moments.first);
    copy(parts[i].moments.second, copies_[i].moments.second);
    copy(parts[i].moments.first_absmax, copies_[i].moments.first_absmax);
    copy(parts[i].moments.second_absmax, copies_[i].moments.second_absmax);
  }
  for (int64_t b = 0; b < std::ssize(sources_.layout.blocks); ++b) {
    const at::Tensor whole = sources_.params.whole(b);
    if (!blocks_.empty()) copy_block(whole, blocks_[static_cast<size_t>(b)]);
  }
  device::synchronize(device_);
}

}  // namespace trireme::train
