// Frozen weights of layers that lie on the host and visit the device: a layer's come while the one
// before it, in the order in which they are asked for, is at work.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/host_arena.h"
#include "engine/stores.h"
#include "engine/transfer.h"

namespace trireme::engine {

class ParamStream : public ParamStore {
 public:
  // Layers on the device at a time: one at work and one on its way.
  static constexpr int64_t kResident = 2;

  // The layers of `blocks` are in slots of `arena`; both outlive this.
  ParamStream(const model::ModelLayout& layout, const std::vector<at::Tensor>& blocks,
              const at::Device& device, HostArena& arena);

  // Of a layer. Starts to bring the one that is next if the order goes on as it did; at most one
  // lease at a time. Asynchronous. Waits, once, until the arena is pinned.
  Lease lease(int64_t block) override;

 private:
  struct Slot {
    at::Tensor memory;
    int64_t block = -1;
    std::vector<Copy> copies;
    std::unique_ptr<Arrival> arrival;
  };
  Slot& fetch(int64_t block);
  bool is_layer(int64_t block) const;

  const std::vector<at::Tensor>& blocks_;
  HostArena& arena_;
  std::unique_ptr<Transfer> transfer_;
  std::array<Slot, kResident> slots_;
  int64_t last_ = 0;  // block that was asked for last
};

}  // namespace trireme::engine
