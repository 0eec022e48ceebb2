#include "engine/host_adamw.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

#include "base/stopwatch.h"
#include "ops/eight_bit.h"

namespace trireme::engine {

int64_t HostAdamW::arena_bytes(at::ScalarType weights, bool grads) {
  const auto weight = static_cast<int64_t>(c10::elementSize(weights));
  return kSlots * (HostArena::slot_bytes(kPiece * weight) + HostArena::slot_bytes(4) +
                   (grads ? HostArena::slot_bytes(kPiece * 4) : 0));
}

HostAdamW::HostAdamW(const at::Device& device, HostArena& arena, at::ScalarType weights, bool grads)
    : device_(device), transfer_(make_transfer(device, arena)), host_(make_side_stream(device)) {
  static_assert(kPiece % ops::kQuantBlock == 0);
  arena.wait_until_pinned();
  for (Slot& slot : slots_) {
    if (grads) slot.grad = arena.take(kPiece, at::kFloat);
    slot.weight = arena.take(kPiece, weights);
    slot.divisor = arena.take(at::empty({}, at::kFloat));
  }
}

void HostAdamW::update(const AdamWState& state, const at::Tensor& weight, const at::Tensor& grad,
                       const ops::AdamWStep& step, const at::Tensor& divisor) {
  for (int64_t first = 0; first < grad.numel(); first += kPiece) {
    const int64_t count = std::min(kPiece, grad.numel() - first);
    ops::AdamWStep piece = step;
    piece.first += first;
    update_piece(state.narrow(first, count), weight.narrow(0, first, count),
                 grad.narrow(0, first, count), piece, divisor);
  }
}

void HostAdamW::update_piece(const AdamWState& state, const at::Tensor& weight,
                             const at::Tensor& grad, const ops::AdamWStep& step,
                             const at::Tensor& divisor) {
  Slot& slot = slots_[turn_++ % kSlots];
  if (slot.arrival) slot.arrival->wait();  // what was there has gone
  const at::Tensor here = slot.weight.narrow(0, 0, weight.numel());
  const at::Tensor change = slot.grad.defined() ? slot.grad.narrow(0, 0, grad.numel()) : grad;
  std::vector<Copy> copies = {{divisor, slot.divisor}};
  if (slot.grad.defined()) copies.push_back({grad, change});
  if (!state.master.defined()) copies.push_back({weight, here});
  const std::unique_ptr<Arrival> came = transfer_->start(Direction::kToHost, copies);
  host_->run([&] {
    came->wait();
    run_on_host(device_, [this, state, here, change, step, there = slot.divisor] {
      const Stopwatch clock;
      state.update(here, change, step, there);
      seconds_ += clock.seconds();
    });
    slot.arrival = transfer_->start(Direction::kToDevice, {{here, weight}});
  });
  came->wait();  // the gradient's memory is free again
}

void HostAdamW::settle() {
  for (const Slot& slot : slots_) {
    if (slot.arrival) slot.arrival->wait();
  }
}

}  // namespace trireme::engine
