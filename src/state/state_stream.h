// Optimizer state that lives in pinned host memory and passes through the device piece by piece:
// while one piece is updated, the next arrives and the previous one returns. The arithmetic is the
// device's, with the same bits as for state that stays there.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "device/host_arena.h"
#include "device/transfer.h"
#include "state/remote_adamw.h"

namespace trireme::state {

class StateStream : public RemoteAdamW {
 public:
  // `arena` holds the state and outlives this.
  StateStream(const at::Device& device, const device::HostArena& arena, bool master,
              MomentFormat moments);

  void update(const AdamWState& state, const at::Tensor& weight, const at::Tensor& grad,
              const ops::AdamWStep& step, const at::Tensor& divisor) override;
  void settle() override {}  // weights are updated in the current stream

 private:
  // Memory of the device for a piece, and the end of what fills or empties it.
  struct Slot {
    AdamWState state;
    std::vector<device::Copy> copies;
    std::unique_ptr<device::Arrival> arrival;
  };
  void fetch(Slot& slot, const AdamWState& piece, int64_t count);

  std::unique_ptr<device::Transfer> transfer_;
  std::array<Slot, 2> slots_;
  int64_t turn_ = 0;
};

}  // namespace trireme::state
