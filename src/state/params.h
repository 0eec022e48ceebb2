// Where weights are. The executor leases a block's weights; it does not know whether they are
// resident, sharded or offloaded.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "device/host_arena.h"
#include "io/weight_files.h"
#include "layout/parameters.h"
#include "state/zero.h"

namespace trireme::state {

// A block's weights on the compute device for as long as the lease lives.
class Lease {
 public:
  explicit Lease(at::Tensor flat) : flat_(std::move(flat)) {}
  const at::Tensor& flat() const { return flat_; }

 private:
  at::Tensor flat_;
};

class ParamStore {
 public:
  virtual ~ParamStore() = default;
  virtual Lease lease(int64_t block) = 0;
};

// Where fp32 master weights are.
struct MasterHome {
  at::Device device;
  device::HostArena* arena = nullptr;  // slots of it, where given
};

// Of a model's weights; without any, all are on the device and have no masters.
struct WeightHomes {
  std::optional<MasterHome> master;     // of what is trained
  device::HostArena* layers = nullptr;  // of the base's layers, where they are not on the device
};

// The weights of one rank: all of them, or its shard of each block. Gaps between tensors are zero:
// the optimizer passes over whole buffers.
class ResidentParams : public ParamStore {
 public:
  // With `homes.master` there are fp32 master weights where those would not be equal to the
  // weights. `zero.mesh` outlives this.
  ResidentParams(const layout::ModelLayout& layout, at::ScalarType dtype, const at::Device& device,
                 WeightHomes homes, const Zero& zero = {});
  // Of a block that this rank has whole.
  Lease lease(int64_t block) override;

  // Reads every tensor, one at a time.
  void load(const io::WeightFiles& files);
  // Sets a block from [numel] of any dtype, on any device.
  void fill(int64_t block, const at::Tensor& whole);

  // Of this rank's shards. What the optimizer updates, fp32 or, without a master copy, of the
  // weights' dtype.
  std::vector<at::Tensor>& master() { return master_; }
  // What is made of it for forward and backward: the same tensors as master() where no other copy
  // is needed.
  std::vector<at::Tensor>& compute() { return compute_; }
  // Shards have been updated: every rank gets those of the others, where it has blocks whole.
  void gather();
  // What the optimizer updates of a block, [numel]. All ranks call it together.
  at::Tensor whole(int64_t block) const;

 private:
  const layout::ModelLayout& layout_;
  Zero zero_;
  at::Device device_;
  std::vector<at::Tensor> whole_;    // [padded]; none where weights are sharded
  std::vector<at::Tensor> compute_;  // a view of whole_, where that is there
  std::vector<at::Tensor> master_;   // the same tensors where no other copy is needed
};

}  // namespace trireme::state
