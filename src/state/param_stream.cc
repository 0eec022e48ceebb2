#include "state/param_stream.h"

#include <ATen/ops/empty.h>

#include <numeric>

#include "base/error.h"

namespace trireme::state {

ParamStream::ParamStream(const layout::ModelLayout& layout, bool tied,
                         const std::vector<at::Tensor>& homes, const at::Device& device,
                         device::HostArena* arena, const Zero& zero)
    : layout_(layout),
      homes_(homes),
      arena_(arena),
      zero_(zero),
      buffers_(layout, zero, tied),
      transfer_(arena == nullptr ? nullptr : device::make_transfer(device, *arena)),
      side_(device::make_side_stream(device)),
      slots_(buffers_.sizes.size()),
      order_(buffers_) {
  const at::TensorOptions options = homes.front().options().device(device);
  for (int64_t b = 0; b <= layout.head(); ++b) {
    Slot& slot = slots_[buffers_.of(b)];
    if (stays(b) || slot.memory.defined()) continue;
    slot.memory = at::empty({buffers_.sizes[buffers_.of(b)]}, options);
    if (on_host(b) && zero.weights()) {
      slot.shard = at::empty({zero.shard(plan::widest_layer(layout)).size}, options);
    }
  }
}

bool ParamStream::on_host(int64_t block) const {
  return arena_ != nullptr && buffers_.is_layer(block);
}

bool ParamStream::stays(int64_t block) const { return !zero_.weights() && !on_host(block); }

Lease ParamStream::lease(int64_t block) {
  const int64_t numel = layout_.blocks[block].numel;
  if (stays(block)) return Lease(homes_[block].narrow(0, 0, numel));
  if (arena_ != nullptr) arena_->wait_until_pinned();
  for (const int64_t b : order_.want(block)) fetch(b);
  Slot& slot = slots_[buffers_.of(block)];
  slot.wait();
  return Lease(slot.memory.narrow(0, 0, numel));
}

void ParamStream::forget() {
  for (Slot& slot : slots_) slot.wait();
  order_.forget();
}

void ParamStream::Slot::wait() {
  if (arrival) arrival->wait();
  if (gathering) gathering->wait();
  gathering.reset();
}

void ParamStream::fetch(int64_t block) {
  Slot& slot = slots_[buffers_.of(block)];
  slot.wait();  // for a layer that was fetched but not leased
  at::Tensor home = homes_[block];
  if (on_host(block)) {
    const at::Tensor room = zero_.weights() ? slot.shard : slot.memory;
    const at::Tensor to = room.narrow(0, 0, home.numel());
    slot.copies = {{home, to}};
    slot.arrival = transfer_->start(device::Direction::kToDevice, slot.copies);
    home = to;
  }
  if (zero_.weights()) {
    const at::Tensor flat = slot.memory.narrow(0, 0, zero_.padded(layout_.blocks[block].numel));
    // On a queue of its own: the compute stream goes on while the shard is on its way.
    slot.arrival = side_->run([&] {
      if (slot.arrival) slot.arrival->wait();
      slot.gathering = zero_.gather(flat, home);
    });
  }
}

}  // namespace trireme::state
