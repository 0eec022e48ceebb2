// Where weights and gradients are. The executor leases a block's weights and hands over its
// gradients; it does not know whether they are resident, sharded or offloaded.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/host_arena.h"
#include "io/hf_folder.h"
#include "model/layout.h"

namespace trireme::engine {

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

class GradStore {
 public:
  virtual ~GradStore() = default;
  // The block's fp32 accumulator, flat; backward adds to it.
  virtual at::Tensor accumulator(int64_t block) = 0;
  // Whether the block's matrices hold nothing yet, so that backward must overwrite them; said once.
  virtual bool take_fresh(int64_t block) = 0;
  // A pass has added all that it adds to the block.
  virtual void finish(int64_t block) = 0;
  // Forgets all gradients.
  virtual void clear() = 0;
};

// Where fp32 master weights are.
struct MasterHome {
  at::Device device;
  HostArena* arena = nullptr;  // slots of it, where given
};

// Of a model's weights; without any, all are on the device and have no masters.
struct WeightHomes {
  std::optional<MasterHome> master;  // of what is trained
  HostArena* layers = nullptr;       // of the base's layers, where they are not on the device
};

// The weights on one device, allocated once. Gaps between tensors are zero: the optimizer passes
// over whole buffers.
class ResidentParams : public ParamStore {
 public:
  // `master`: if there are to be fp32 master weights; where they would be equal to the weights
  // there are none.
  ResidentParams(const model::ModelLayout& layout, at::ScalarType dtype, const at::Device& device,
                 WeightHomes homes);
  Lease lease(int64_t block) override { return Lease(compute_[block]); }

  // Reads every tensor, one at a time.
  void load(const io::Checkpoint& checkpoint);

  // What the optimizer updates and checkpoints are written from, fp32 or, without a master copy,
  // of the weights' dtype; call refresh() after a change.
  std::vector<at::Tensor>& master() { return master_; }
  // What forward and backward read: the same tensors as master() where no other copy is needed.
  std::vector<at::Tensor>& compute() { return compute_; }
  void refresh();

 private:
  const model::ModelLayout& layout_;
  std::vector<at::Tensor> compute_;
  std::vector<at::Tensor> master_;  // the same tensors where no other copy is needed
};

// Elements of the largest block of a layer.
int64_t widest_layer(const model::ModelLayout& layout);

// Readies a block's accumulator for a pass: zero but for what backward overwrites, as
// ResidentGrads's `overwritten` says.
void clear_accumulator(const model::BlockLayout& block, bool overwritten, const at::Tensor& flat);

class ResidentGrads : public GradStore {
 public:
  // overwritten: of each block, whether backward writes all of its decayed part with products: it
  // is then not zeroed, which would be one pass over the memory more.
  ResidentGrads(const model::ModelLayout& layout, const at::Device& device,
                std::vector<bool> overwritten);
  at::Tensor accumulator(int64_t block) override { return blocks_[block]; }
  bool take_fresh(int64_t block) override;
  void finish(int64_t) override {}
  void clear() override;
  std::vector<at::Tensor>& blocks() { return blocks_; }

 private:
  const model::ModelLayout& layout_;
  std::vector<bool> overwritten_, fresh_;
  std::vector<at::Tensor> blocks_;
};

}  // namespace trireme::engine
