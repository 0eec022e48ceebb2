// Optimizer state that lives in pinned host memory and passes through the device piece by piece:
// while one piece is updated, the next comes and the one before goes. The arithmetic is the
// device's, bit for bit that of state which stays there.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/host_arena.h"
#include "engine/transfer.h"
#include "ops/adamw.h"

namespace trireme::engine {

// A part of a block's state on the host.
struct HostState {
  at::Tensor master;     // fp32, or undefined: the weights themselves are updated
  ops::Moments moments;  // equal elements
};

class StateStream {
 public:
  // Elements of a piece: 192 MiB of fp32 master and moments, 4 ms of the link.
  static constexpr int64_t kPiece = int64_t{16} << 20;
  // Bytes of the device that pieces of such a format take.
  static int64_t device_bytes(bool master, ops::MomentFormat moments);

  // `arena` holds the state and outlives this.
  StateStream(const at::Device& device, const HostArena& arena, bool master,
              ops::MomentFormat moments);

  // ops::adamw_ on weight and grad, flat on the device, with the state of as many elements.
  // Asynchronous, in the order of the current stream. `step.first` is element 0's.
  void update(const HostState& state, const at::Tensor& weight, const at::Tensor& grad,
              const ops::AdamWStep& step, const at::Tensor& divisor);

 private:
  // Memory of the device for a piece, and the end of what fills or empties it.
  struct Slot {
    at::Tensor master;
    ops::Moments moments;
    std::vector<Copy> copies;
    std::unique_ptr<Arrival> arrival;
  };
  void fetch(Slot& slot, const HostState& state, int64_t first, int64_t count);
  // Elements [first, first + weight.numel()) of a part.
  static void update_piece(const Slot& slot, const at::Tensor& weight, const at::Tensor& grad,
                           int64_t first, ops::AdamWStep step, const at::Tensor& divisor);

  std::unique_ptr<Transfer> transfer_;
  std::array<Slot, 2> slots_;
  int64_t turn_ = 0;
};

}  // namespace trireme::engine
