// Optimizer state that lives in pinned host memory and passes through the device piece by piece:
// while one piece is updated, the next comes and the one before goes. The arithmetic is the
// device's, bit for bit that of state which stays there.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/host_arena.h"
#include "engine/remote_adamw.h"
#include "engine/transfer.h"

namespace trireme::engine {

class StateStream : public RemoteAdamW {
 public:
  // Elements of a piece: 192 MiB of fp32 master and moments, 4 ms of the link.
  static constexpr int64_t kPiece = int64_t{16} << 20;
  // Bytes of the device that pieces of such a format take.
  static int64_t device_bytes(bool master, ops::MomentFormat moments);

  // `arena` holds the state and outlives this.
  StateStream(const at::Device& device, const HostArena& arena, bool master,
              ops::MomentFormat moments);

  void update(const AdamWState& state, const at::Tensor& weight, const at::Tensor& grad,
              const ops::AdamWStep& step, const at::Tensor& divisor) override;
  void settle() override {}  // weights are updated in the current stream

 private:
  // Memory of the device for a piece, and the end of what fills or empties it.
  struct Slot {
    AdamWState state;
    std::vector<Copy> copies;
    std::unique_ptr<Arrival> arrival;
  };
  void fetch(Slot& slot, const AdamWState& piece, int64_t count);

  std::unique_ptr<Transfer> transfer_;
  std::array<Slot, 2> slots_;
  int64_t turn_ = 0;
};

}  // namespace trireme::engine
