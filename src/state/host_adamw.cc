#include "state/host_adamw.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "base/stopwatch.h"
#include "ops/eight_bit.h"

namespace trireme::state {

HostAdamW::HostAdamW(const at::Device& device, device::HostArena& arena, at::ScalarType weights,
                     bool grads)
    : device_(device),
      transfer_(device::make_transfer(device, arena)),
      host_(device::make_side_stream(device)) {
  static_assert(plan::kHostPiece % kQuantBlock == 0);
  arena.wait_until_pinned();
  for (Slot& slot : slots_) {
    if (grads) slot.grad = arena.take(plan::kHostPiece, at::kFloat);
    slot.weight = arena.take(plan::kHostPiece, weights);
    slot.divisor = arena.take(at::empty({}, at::kFloat));
  }
}

void HostAdamW::update(const AdamWState& state, const at::Tensor& weight, const at::Tensor& grad,
                       const ops::AdamWStep& step, const at::Tensor& divisor) {
  for (int64_t first = 0; first < grad.numel(); first += plan::kHostPiece) {
    const int64_t count = std::min(plan::kHostPiece, grad.numel() - first);
    ops::AdamWStep piece = step;
    piece.first += first;
    update_piece(state.narrow(first, count), weight.narrow(0, first, count),
                 grad.narrow(0, first, count), piece, divisor);
  }
}

void HostAdamW::update_piece(const AdamWState& state, const at::Tensor& weight,
                             const at::Tensor& grad, const ops::AdamWStep& step,
                             const at::Tensor& divisor) {
  Slot& slot = slots_[turn_++ % plan::kHostSlots];
  if (slot.arrival) slot.arrival->wait();  // its last content was copied out
  const at::Tensor here = slot.weight.narrow(0, 0, weight.numel());
  const at::Tensor change = slot.grad.defined() ? slot.grad.narrow(0, 0, grad.numel()) : grad;
  std::vector<device::Copy> copies = {{divisor, slot.divisor}};
  if (slot.grad.defined()) copies.push_back({grad, change});
  if (!state.master.defined()) copies.push_back({weight, here});
  const std::unique_ptr<device::Arrival> came =
      transfer_->start(device::Direction::kToHost, copies);
  host_->run([&] {
    came->wait();
    device::run_on_host(device_, [this, state, here, change, step, there = slot.divisor] {
      const Stopwatch clock;
      state.update(here, change, step, there);
      seconds_ += clock.seconds();
    });
    slot.arrival = transfer_->start(device::Direction::kToDevice, {{here, weight}});
  });
  came->wait();  // the gradient's memory is free again
}

void HostAdamW::settle() {
  for (const Slot& slot : slots_) {
    if (slot.arrival) slot.arrival->wait();
  }
}

}  // namespace trireme::state
