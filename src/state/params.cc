#include "state/params.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "base/error.h"
#include "model/model_io.h"
#include "model/params.h"

namespace trireme::state {
namespace {

// Returns x, or a copy if it is in host memory: a part of an arena may not be pinned yet, and the
// driver refuses to copy between the device and partly pinned memory.
at::Tensor own_memory(const at::Tensor& x) { return x.is_cpu() ? x.clone() : x; }

at::TensorOptions on(const at::Device& device, at::ScalarType dtype) {
  return at::TensorOptions(dtype).device(device);
}

}  // namespace

ResidentParams::ResidentParams(const layout::ModelLayout& layout, at::ScalarType dtype,
                               const at::Device& device, WeightHomes homes, const Zero& zero)
    : layout_(layout), zero_(zero), device_(device) {
  const auto memory = [](device::HostArena* arena, int64_t numel,
                         const at::TensorOptions& options) {
    return arena == nullptr ? at::empty({numel}, options)
                            : arena->take(numel, options.dtype().toScalarType());
  };
  const std::optional<MasterHome>& master = homes.master;
  const bool apart = master && (dtype != at::kFloat || master->device != device);
  for (int64_t b = 0; b <= layout.head(); ++b) {
    const layout::BlockLayout& block = layout.blocks[b];
    const int64_t shard = zero.shard(block.numel).size;
    const bool layer = layout.is_layer(b);
    const int64_t held = zero.weights() ? shard : zero.padded(block.numel);
    const at::Tensor weights = memory(layer ? homes.layers : nullptr, held, on(device, dtype));
    if (!zero.weights()) whole_.push_back(weights);
    compute_.push_back(zero.weights() ? weights : zero.mine(weights));
    master_.push_back(apart ? memory(master->arena, shard, on(master->device, at::kFloat))
                            : compute_.back());
    // load() fills the rest. Zeroing all of it would cost as much as reading cached files.
    if (!zero.states()) model::zero_gaps(block, block.numel, master_.back());
  }
}

Lease ResidentParams::lease(int64_t block) {
  TRIREME_CHECK(!zero_.weights());
  return Lease(whole_[block].narrow(0, 0, layout_.blocks[block].numel));
}

void ResidentParams::load(const io::WeightFiles& files) {
  for (int64_t b = 0; b <= layout_.head(); ++b) {
    if (zero_.states()) {
      at::Tensor whole = at::zeros({layout_.blocks[b].numel}, at::kFloat);
      model::load_block(layout_.blocks[b], files, whole);
      fill(b, whole);
    } else {
      model::load_block(layout_.blocks[b], files, master_[b]);
      if (!compute_[b].is_same(master_[b])) compute_[b].copy_(own_memory(master_[b]));
    }
  }
}

void ResidentParams::fill(int64_t block, const at::Tensor& whole) {
  const layout::Shard shard = zero_.shard(whole.numel());
  const at::Tensor mine = whole.narrow(0, shard.first, shard.count);
  const auto set = [](const at::Tensor& to, const at::Tensor& from) {
    to.narrow(0, 0, from.numel()).copy_(to.is_cpu() ? from.to(at::kCPU) : from);  // own memory
    to.narrow(0, from.numel(), to.numel() - from.numel()).zero_();
  };
  set(master_[block], mine);
  if (!zero_.weights()) {
    set(whole_[block], whole);
  } else if (!compute_[block].is_same(master_[block])) {
    set(compute_[block], mine);
  }
}

void ResidentParams::masters_set() {
  for (int64_t b = 0; b <= layout_.head(); ++b) {
    if (!compute_[b].is_same(master_[b])) compute_[b].copy_(own_memory(master_[b]));
  }
  gather();
}

void ResidentParams::gather() {
  if (!zero_.states() || zero_.weights()) return;
  std::vector<dist::PendingPtr> pending;
  for (size_t b = 0; b < whole_.size(); ++b) {
    if (whole_[b].numel() > 0) pending.push_back(zero_.gather(whole_[b], compute_[b]));
  }
  for (const dist::PendingPtr& each : pending) each->wait();
}

at::Tensor ResidentParams::whole(int64_t block) const {
  const at::Tensor& mine = master_[block];  // masters may be on the host
  return zero_.whole(zero_.states() ? mine.to(device_) : mine, layout_.blocks[block].numel);
}

}  // namespace trireme::state
