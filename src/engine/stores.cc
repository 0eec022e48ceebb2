#include "engine/stores.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "base/error.h"
#include "engine/optimizer.h"
#include "model/model_io.h"

namespace trireme::engine {
namespace {

// Zeroes what lies between the tensors that begin before `end`, and all from there on.
void zero_gaps(const model::BlockLayout& block, int64_t end, const at::Tensor& flat) {
  int64_t last = 0;
  for (const model::ParamInfo& info : block.params) {
    if (info.offset >= end) break;
    if (info.offset > last) flat.narrow(0, last, info.offset - last).zero_();
    last = info.offset + info.numel;
  }
  flat.narrow(0, last, flat.numel() - last).zero_();
}

// x, of host memory a copy: of an arena a part may not be pinned yet, and the driver refuses to
// copy between the device and memory that is pinned only partly.
at::Tensor own_memory(const at::Tensor& x) { return x.is_cpu() ? x.clone() : x; }

at::TensorOptions on(const at::Device& device, at::ScalarType dtype) {
  return at::TensorOptions(dtype).device(device);
}

}  // namespace

ResidentParams::ResidentParams(const model::ModelLayout& layout, at::ScalarType dtype,
                               const at::Device& device, WeightHomes homes, const Zero& zero)
    : layout_(layout), zero_(zero), device_(device) {
  const auto memory = [](HostArena* arena, int64_t numel, const at::TensorOptions& options) {
    return arena == nullptr ? at::empty({numel}, options)
                            : arena->take(numel, options.dtype().toScalarType());
  };
  const std::optional<MasterHome>& master = homes.master;
  const bool apart = master && (dtype != at::kFloat || master->device != device);
  for (int64_t b = 0; b <= layout.head_block(); ++b) {
    const model::BlockLayout& block = layout.blocks[b];
    const int64_t shard = zero.shard(block.numel).size;
    const bool layer = b > 0 && b < layout.head_block();
    const int64_t held = zero.weights() ? shard : zero.padded(block.numel);
    const at::Tensor weights = memory(layer ? homes.layers : nullptr, held, on(device, dtype));
    if (!zero.weights()) whole_.push_back(weights);
    compute_.push_back(zero.weights() ? weights : zero.mine(weights));
    master_.push_back(apart ? memory(master->arena, shard, on(master->device, at::kFloat))
                            : compute_.back());
    // The rest is load()'s to fill: a pass over the whole would cost as much as reading a
    // checkpoint that the system has cached.
    if (!zero.states()) zero_gaps(block, block.numel, master_.back());
  }
}

Lease ResidentParams::lease(int64_t block) {
  TRIREME_CHECK(!zero_.weights());
  return Lease(whole_[block].narrow(0, 0, layout_.blocks[block].numel));
}

void ResidentParams::load(const io::Checkpoint& checkpoint) {
  for (int64_t b = 0; b <= layout_.head_block(); ++b) {
    if (zero_.states()) {
      at::Tensor whole = at::zeros({layout_.blocks[b].numel}, at::kFloat);
      model::load_block(layout_.blocks[b], checkpoint, whole);
      fill(b, whole);
    } else {
      model::load_block(layout_.blocks[b], checkpoint, master_[b]);
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

void ResidentParams::gather() {
  if (!zero_.states() || zero_.weights()) return;
  std::vector<dist::PendingPtr> pending;
  for (size_t b = 0; b < whole_.size(); ++b) {
    if (whole_[b].numel() > 0) pending.push_back(zero_.gather(whole_[b], compute_[b]));
  }
  for (const dist::PendingPtr& each : pending) each->wait();
}

at::Tensor ResidentParams::whole(int64_t block) const {
  const at::Tensor& mine = master_[block];  // masters may be on the host, the group is the device's
  return zero_.whole(zero_.states() ? mine.to(device_) : mine, layout_.blocks[block].numel);
}

BlockBuffers::BlockBuffers(const model::ModelLayout& layout, const layout::Sharding& sharding,
                           bool apart)
    : head_(layout.head_block()) {
  const int64_t layer = sharding.padded(widest_layer(layout)),
                embedding = sharding.padded(layout.blocks.front().numel),
                head = sharding.padded(layout.blocks.back().numel);
  sizes = apart ? std::vector{layer, layer, embedding, head}
                : std::vector{layer, layer, std::max(embedding, head)};
}

size_t BlockBuffers::of(int64_t block) const {
  if (block == 0) return kLayers;
  return block == head_ ? sizes.size() - 1 : static_cast<size_t>(block) % kLayers;
}

std::vector<int64_t> VisitOrder::want(int64_t block) {
  std::vector<int64_t> wanted = {block};
  if (buffers_.is_layer(block)) {
    const int64_t next = block >= last_ ? block + 1 : block - 1;
    if (buffers_.is_layer(next)) wanted.push_back(next);
    last_ = block;
  }
  std::erase_if(wanted, [&](int64_t b) { return there_[buffers_.of(b)] == b; });
  for (const int64_t b : wanted) there_[buffers_.of(b)] = b;
  return wanted;
}

int64_t widest_layer(const model::ModelLayout& layout) {
  int64_t most = 0;
  for (int64_t b = 1; b < layout.head_block(); ++b) {
    most = std::max(most, layout.blocks[b].numel);
  }
  return most;
}

void clear_accumulator(const model::BlockLayout& block, bool overwritten, const at::Tensor& flat) {
  overwritten ? zero_gaps(block, block.decayed, flat) : static_cast<void>(flat.zero_());
}

at::Tensor GradStore::update(AdamW& optimizer) {
  const std::vector<at::Tensor>& grads = sums();
  return optimizer.step(grads, squares_of(grads));
}

ResidentGrads::ResidentGrads(const model::ModelLayout& layout, const at::Device& device,
                             std::vector<bool> overwritten, const Zero& zero)
    : layout_(layout),
      zero_(zero),
      overwritten_(std::move(overwritten)),
      fresh_(layout.blocks.size()),
      pending_(layout.blocks.size()) {
  TRIREME_CHECK(overwritten_.size() == layout.blocks.size());
  for (const model::BlockLayout& block : layout.blocks) {
    blocks_.push_back(at::zeros({zero.padded(block.numel)}, on(device, at::kFloat)));
    sums_.push_back(zero.mine(blocks_.back()));
  }
}

at::Tensor ResidentGrads::accumulator(int64_t block) {
  return blocks_[block].narrow(0, 0, layout_.blocks[block].numel);
}

bool ResidentGrads::take_fresh(int64_t block) {
  const bool fresh = fresh_[block];
  fresh_[block] = false;
  return fresh;
}

void ResidentGrads::finish(int64_t block) {
  if (last_ && blocks_[block].numel() > 0) pending_[block] = zero_.reduce(blocks_[block]);
}

void ResidentGrads::clear() {
  fresh_ = overwritten_;
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

}  // namespace trireme::engine
