// Weights that a rank does not hold, or not as a whole, on its device. They visit it block by
// block: from host memory, from the other ranks' shards (ZeRO-3), or both. A layer's weights arrive
// while the previous layer, in the order of the leases, computes.
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
  // `homes`: what this rank has of each block. Those of layers are slots of `arena`, or on the
  // device if it is null. Whole blocks on the device stay there. tied: the embedding is wanted
  // together with the head. References outlive this.
  ParamStream(const layout::ModelLayout& layout, bool tied, const std::vector<at::Tensor>& homes,
              const at::Device& device, device::HostArena* arena, const Zero& zero);

  // Also starts to fetch the next layer, if the order continues as before. At most one layer may be
  // leased at a time. Asynchronous, but the first call waits until the arena is pinned.
  Lease lease(int64_t block) override;
  // Call after the homes have changed: blocks are fetched again.
  void forget();

 private:
  struct Slot {
    at::Tensor memory;  // whole
    at::Tensor shard;   // device copy of a home on the host, on its way to the other ranks
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
