// Where weights are. The executor leases a block's weights and hands over its gradients (grads.h).
// It does not know whether they are resident, sharded or in host memory.
//
//   weights    ResidentParams: whole blocks, or shards. ParamStream: blocks that visit the device,
//              from host memory, from the shards of other ranks, or both
//   gradients  ResidentGrads. A GradStream has a block on the device only while backward adds to
//   it;
//              then FusedGrads gives it to the optimizer, HostGrads to host memory, ShardedGrads to
//              the ranks that hold its shards
//   optimizer  masters and moments on the device, in host memory, or absent. From host memory they
//              pass through two pieces of device memory (StateStream), or AdamW runs there
//              (HostAdamW)
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

// The homes of a model's weights. By default, all are on the device and have no master weights.
struct WeightHomes {
  std::optional<MasterHome> master;     // of what is trained
  device::HostArena* layers = nullptr;  // of the base's layers, where they are not on the device
};

// The weights of one rank: all of them, or its shard of each block. Gaps between tensors are zero:
// the optimizer passes over whole buffers.
class ResidentParams : public ParamStore {
 public:
  // With `homes.master` there are fp32 master weights, unless the weights are fp32 on the same
  // device. `zero.mesh` outlives this.
  ResidentParams(const layout::ModelLayout& layout, at::ScalarType dtype, const at::Device& device,
                 WeightHomes homes, const Zero& zero = {});
  // The block must be one that this rank has whole.
  Lease lease(int64_t block) override;

  // Reads every tensor, one at a time.
  void load(const io::WeightFiles& files);
  // Sets a block from [numel] of any dtype, on any device.
  void fill(int64_t block, const at::Tensor& whole);

  // This rank's shards of what the optimizer updates: fp32 master weights or, without a master
  // copy, the weights themselves.
  std::vector<at::Tensor>& master() { return master_; }
  const std::vector<at::Tensor>& master() const { return master_; }
  // This rank's shards as forward and backward read them: the same tensors as master() where no
  // other copy is needed.
  std::vector<at::Tensor>& compute() { return compute_; }
  // What this rank holds of each block: all of it, or its shard where weights are sharded.
  const std::vector<at::Tensor>& held() const { return zero_.weights() ? compute_ : whole_; }
  // Call after all of master() was set from elsewhere: makes the copies that forward and backward
  // read. All ranks call it together.
  void masters_set();
  // Call after the shards have been updated. Where this rank has whole blocks, they get the other
  // ranks' shards.
  void gather();
  // The whole block [numel] of what the optimizer updates. All ranks call it together.
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
