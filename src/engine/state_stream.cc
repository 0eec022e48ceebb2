#include "engine/state_stream.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "ops/eight_bit.h"

namespace trireme::engine {
namespace {

// The part of `host` that a piece has, and the room for it in `slot`.
Copy piece(const at::Tensor& host, const at::Tensor& slot, int64_t first, int64_t count) {
  return {host.narrow(0, first, count), slot.narrow(0, 0, count)};
}

}  // namespace

int64_t StateStream::device_bytes(bool master, ops::MomentFormat moments) {
  return 2 * (ops::moment_bytes(kPiece, moments) + (master ? 4 * kPiece : 0));
}

StateStream::StateStream(const at::Device& device, const HostArena& arena, bool master,
                         ops::MomentFormat moments)
    : transfer_(make_transfer(device, arena)) {
  static_assert(kPiece % ops::kQuantBlock == 0);
  for (Slot& slot : slots_) {
    if (master) slot.master = at::empty({kPiece}, at::TensorOptions(at::kFloat).device(device));
    slot.moments = ops::zero_moments(kPiece, moments, device);
  }
}

void StateStream::update(const HostState& state, const at::Tensor& weight, const at::Tensor& grad,
                         const ops::AdamWStep& step, const at::Tensor& divisor) {
  const int64_t numel = grad.numel();
  const auto size = [&](int64_t first) { return std::min(kPiece, numel - first); };
  fetch(slots_[turn_ % 2], state, 0, size(0));
  for (int64_t first = 0; first < numel; first += kPiece) {
    Slot& slot = slots_[turn_++ % 2];
    const int64_t count = size(first), then = first + kPiece;
    if (then < numel) fetch(slots_[turn_ % 2], state, then, size(then));
    slot.arrival->wait();
    update_piece(slot, weight.narrow(0, first, count), grad.narrow(0, first, count), first, step,
                 divisor);
    for (Copy& copy : slot.copies) std::swap(copy.from, copy.to);
    slot.arrival = transfer_->start(Direction::kToHost, slot.copies);
  }
}

void StateStream::update_piece(const Slot& slot, const at::Tensor& weight, const at::Tensor& grad,
                               int64_t first, ops::AdamWStep step, const at::Tensor& divisor) {
  const int64_t count = grad.numel(), blocks = ops::quant_blocks(count);
  const auto of = [](const at::Tensor& x, int64_t n) {
    return x.defined() ? x.narrow(0, 0, n) : x;
  };
  const ops::Moments& all = slot.moments;
  const ops::Moments moments{of(all.first, count), of(all.second, count),
                             of(all.first_absmax, blocks), of(all.second_absmax, blocks)};
  const bool master = slot.master.defined();
  step.first += first;
  ops::adamw_(master ? of(slot.master, count) : weight, grad, moments, step, divisor,
              master ? weight : at::Tensor());
}

void StateStream::fetch(Slot& slot, const HostState& state, int64_t first, int64_t count) {
  if (slot.arrival) slot.arrival->wait();  // what was there has gone
  const ops::Moments &host = state.moments, &here = slot.moments;
  slot.copies = {piece(host.first, here.first, first, count),
                 piece(host.second, here.second, first, count)};
  if (slot.master.defined()) slot.copies.push_back(piece(state.master, slot.master, first, count));
  if (here.first_absmax.defined()) {
    const int64_t block = first / ops::kQuantBlock;
    const int64_t blocks = ops::quant_blocks(count);
    slot.copies.push_back(piece(host.first_absmax, here.first_absmax, block, blocks));
    slot.copies.push_back(piece(host.second_absmax, here.second_absmax, block, blocks));
  }
  slot.arrival = transfer_->start(Direction::kToDevice, slot.copies);
}

}  // namespace trireme::engine
