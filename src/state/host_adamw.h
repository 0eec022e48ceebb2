// AdamW on the host for weights of the device, in a thread of its own beside the device's work.
// Gradients come through pinned memory piece by piece and new weights go back through it: while one
// piece is updated, the gradients of the next arrive and the weights of the previous one return.
// The arithmetic is the device's, bit for bit.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "device/host_arena.h"
#include "device/transfer.h"
#include "plan/state_bytes.h"
#include "state/remote_adamw.h"

namespace trireme::state {

class HostAdamW : public RemoteAdamW {
 public:
  // `arena`, which is pinned, has room for plan::host_pieces_bytes() and outlives this. `grads`:
  // gradients are on the device and pass through it too.
  HostAdamW(const at::Device& device, device::HostArena& arena, at::ScalarType weights, bool grads);

  // The state is on the host; so is the gradient without `grads`. Neither may be touched until
  // settle() was called and the current stream has done what was queued until then.
  void update(const AdamWState& state, const at::Tensor& weight, const at::Tensor& grad,
              const ops::AdamWStep& step, const at::Tensor& divisor) override;
  void settle() override;

  // Seconds of AdamW so far, once the device is idle.
  double seconds() const { return seconds_; }

 private:
  struct Slot {
    at::Tensor grad, weight, divisor;
    std::unique_ptr<device::Arrival> arrival;  // of the weights on the device
  };
  void update_piece(const AdamWState& state, const at::Tensor& weight, const at::Tensor& grad,
                    const ops::AdamWStep& step, const at::Tensor& divisor);

  at::Device device_;
  std::unique_ptr<device::Transfer> transfer_;
  std::unique_ptr<device::SideStream> host_;
  std::array<Slot, plan::kHostSlots> slots_;
  int64_t turn_ = 0;
  std::atomic<double> seconds_ = 0;
};

}  // namespace trireme::state
