#include "engine/state_stream.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "ops/eight_bit.h"

namespace trireme::engine {

int64_t StateStream::device_bytes(bool master, ops::MomentFormat moments) {
  return 2 * (ops::moment_bytes(kPiece, moments) + (master ? 4 * kPiece : 0));
}

StateStream::StateStream(const at::Device& device, const HostArena& arena, bool master,
                         ops::MomentFormat moments)
    : transfer_(make_transfer(device, arena)) {
  static_assert(kPiece % ops::kQuantBlock == 0);
  for (Slot& slot : slots_) {
    at::Tensor& here = slot.state.master;
    if (master) here = at::empty({kPiece}, at::TensorOptions(at::kFloat).device(device));
    slot.state.moments = ops::zero_moments(kPiece, moments, device);
  }
}

void StateStream::update(const AdamWState& state, const at::Tensor& weight, const at::Tensor& grad,
                         const ops::AdamWStep& step, const at::Tensor& divisor) {
  const int64_t numel = grad.numel();
  const auto fetch_at = [&](int64_t first) {
    const int64_t count = std::min(kPiece, numel - first);
    fetch(slots_[turn_ % 2], state.narrow(first, count), count);
  };
  fetch_at(0);
  for (int64_t first = 0; first < numel; first += kPiece) {
    Slot& slot = slots_[turn_++ % 2];
    if (first + kPiece < numel) fetch_at(first + kPiece);
    const int64_t count = std::min(kPiece, numel - first);
    ops::AdamWStep piece = step;
    piece.first += first;
    slot.arrival->wait();
    slot.state.narrow(0, count).update(weight.narrow(0, first, count), grad.narrow(0, first, count),
                                       piece, divisor);
    for (Copy& copy : slot.copies) std::swap(copy.from, copy.to);
    slot.arrival = transfer_->start(Direction::kToHost, slot.copies);
  }
}

void StateStream::fetch(Slot& slot, const AdamWState& piece, int64_t count) {
  if (slot.arrival) slot.arrival->wait();  // what was there has gone
  const AdamWState here = slot.state.narrow(0, count);
  const ops::Moments &from = piece.moments, &to = here.moments;
  slot.copies.clear();
  for (const auto& copy :
       {Copy{piece.master, here.master}, Copy{from.first, to.first}, Copy{from.second, to.second},
        Copy{from.first_absmax, to.first_absmax}, Copy{from.second_absmax, to.second_absmax}}) {
    if (copy.to.defined()) slot.copies.push_back(copy);
  }
  slot.arrival = transfer_->start(Direction::kToDevice, slot.copies);
}

}  // namespace trireme::engine
