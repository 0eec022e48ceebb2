#include "state/state_stream.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "plan/state_bytes.h"

namespace trireme::state {

StateStream::StateStream(const at::Device& device, const device::HostArena& arena, bool master,
                         MomentFormat moments)
    : transfer_(device::make_transfer(device, arena)) {
  static_assert(plan::kStreamPiece % kQuantBlock == 0);
  for (Slot& slot : slots_) {
    at::Tensor& here = slot.state.master;
    if (master)
      here = at::empty({plan::kStreamPiece}, at::TensorOptions(at::kFloat).device(device));
    slot.state.moments = ops::zero_moments(plan::kStreamPiece, moments, device);
  }
}

void StateStream::update(const AdamWState& state, const at::Tensor& weight, const at::Tensor& grad,
                         const ops::AdamWStep& step, const at::Tensor& divisor) {
  const int64_t numel = grad.numel();
  const auto fetch_at = [&](int64_t first) {
    const int64_t count = std::min(plan::kStreamPiece, numel - first);
    fetch(slots_[turn_ % 2], state.narrow(first, count), count);
  };
  fetch_at(0);
  for (int64_t first = 0; first < numel; first += plan::kStreamPiece) {
    Slot& slot = slots_[turn_++ % 2];
    if (first + plan::kStreamPiece < numel) fetch_at(first + plan::kStreamPiece);
    const int64_t count = std::min(plan::kStreamPiece, numel - first);
    ops::AdamWStep piece = step;
    piece.first += first;
    slot.arrival->wait();
    slot.state.narrow(0, count).update(weight.narrow(0, first, count), grad.narrow(0, first, count),
                                       piece, divisor);
    for (device::Copy& copy : slot.copies) std::swap(copy.from, copy.to);
    slot.arrival = transfer_->start(device::Direction::kToHost, slot.copies);
  }
}

void StateStream::fetch(Slot& slot, const AdamWState& piece, int64_t count) {
  if (slot.arrival) slot.arrival->wait();  // its last content was copied out
  const AdamWState here = slot.state.narrow(0, count);
  const ops::Moments &from = piece.moments, &to = here.moments;
  slot.copies.clear();
  for (const auto& copy :
       {device::Copy{piece.master, here.master}, device::Copy{from.first, to.first},
        device::Copy{from.second, to.second}, device::Copy{from.first_absmax, to.first_absmax},
        device::Copy{from.second_absmax, to.second_absmax}}) {
    if (copy.to.defined()) slot.copies.push_back(copy);
  }
  slot.arrival = transfer_->start(device::Direction::kToDevice, slot.copies);
}

}  // namespace trireme::state
