// AdamW on the host for weights of the device, in a thread of its own beside the device's work.
// Gradients come through pinned memory piece by piece and new weights go back through it: while one
// piece is updated, the gradients of the next come and the weights of the one before go. The
// arithmetic is the device's, bit for bit.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "engine/host_arena.h"
#include "engine/remote_adamw.h"
#include "engine/transfer.h"

namespace trireme::engine {

class HostAdamW : public RemoteAdamW {
 public:
  // Elements of a piece: 1.2 ms of the link and 3.7 ms of AdamW on 16 cores.
  static constexpr int64_t kPiece = int64_t{16} << 20;
  // Pieces on their way: one comes, one is updated, one goes.
  static constexpr int64_t kSlots = 3;
  // Bytes of an arena for pieces; `grads`: gradients too, which are on the device.
  static int64_t arena_bytes(at::ScalarType weights, bool grads);

  // `arena`, which is pinned, has room for arena_bytes() and outlives this.
  HostAdamW(const at::Device& device, HostArena& arena, at::ScalarType weights, bool grads);

  // The state is on the host, and without `grads` the gradient too; neither may be touched before
  // settle() and what the current stream was given until then is done.
  void update(const AdamWState& state, const at::Tensor& weight, const at::Tensor& grad,
              const ops::AdamWStep& step, const at::Tensor& divisor) override;
  void settle() override;

  // Of AdamW so far, once the device is idle.
  double seconds() const { return seconds_; }

 private:
  struct Slot {
    at::Tensor grad, weight, divisor;
    std::unique_ptr<Arrival> arrival;  // of the weights on the device
  };
  void update_piece(const AdamWState& state, const at::Tensor& weight, const at::Tensor& grad,
                    const ops::AdamWStep& step, const at::Tensor& divisor);

  at::Device device_;
  std::unique_ptr<Transfer> transfer_;
  std::unique_ptr<SideStream> host_;
  std::array<Slot, kSlots> slots_;
  int64_t turn_ = 0;
  std::atomic<double> seconds_ = 0;
};

}  // namespace trireme::engine
