// Weights that a rank does not have on its device, or not whole, and that visit it block by block:
// from host memory, from the other ranks' shards (ZeRO-3), or both. A layer's come while the one
// before it, in the order in which they are asked for, is at work.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "device/host_arena.h"
#include "device/transfer.h"
#include "plan/visits.h"
#include "state/params.h"

namespace trireme::state {

class ParamStream : public ParamStore {
 public:
  // `homes`: what this rank has of each block, of layers in slots of `arena` (nullptr: all on the
  // device); what is there and whole stays. tied: the embedding is wanted
  // beside the head. References outlive this.
  ParamStream(const layout::ModelLayout& layout, bool tied, const std::vector<at::Tensor>& homes,
              const at::Device& device, device::HostArena* arena, const Zero& zero);

  // Starts to bring the layer that is next if the order goes on as it did; at most one lease of a
  // layer at a time. Asynchronous. Waits, once, until the arena is pinned.
  Lease lease(int64_t block) override;
  // The homes have changed.
  void forget();

 private:
  struct Slot {
    at::Tensor memory;  // whole
    at::Tensor shard;   // of a home on the host, on its way to the others
    std::vector<device::Copy> copies;
    std::unique_ptr<device::Arrival> arrival;
    dist::PendingPtr gathering;
    void wait();
  };
  bool on_host(int64_t block) const;
  bool stays(int64_t block) const;
  void fetch(int64_t block);

  const layout::ModelLayout& layout_;
  const std::vector<at::Tensor>& homes_;
  device::HostArena* arena_;
  Zero zero_;
  plan::BlockBuffers buffers_;
  std::unique_ptr<device::Transfer> transfer_;
  std::unique_ptr<device::SideStream> side_;
  std::vector<Slot> slots_;
  plan::VisitOrder order_;
};

}  // namespace trireme::state
