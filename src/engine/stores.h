// Where weights and gradients are. The executor leases a block's weights and hands over its
// gradients; it does not know whether they are resident, sharded or offloaded.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/host_arena.h"
#include "engine/zero.h"
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

class AdamW;

class GradStore {
 public:
  virtual ~GradStore() = default;
  // The block's fp32 accumulator, flat; backward adds to it.
  virtual at::Tensor accumulator(int64_t block) = 0;
  // Whether the block's matrices hold nothing yet, so that backward must overwrite them; said once.
  virtual bool take_fresh(int64_t block) = 0;
  // A pass has added all that it adds to the block.
  virtual void finish(int64_t block) = 0;
  // Forgets all gradients; a step begins.
  virtual void clear() = 0;
  // A pass begins, the last of its step or not.
  virtual void begin_pass(bool last) = 0;
  // fp32 blocks of this rank's shards, summed over ranks, once all have arrived; none where the
  // optimizer has had them.
  virtual std::vector<at::Tensor>& sums() = 0;
  // After the last pass of a step that the optimizer has begun: updates what it has not updated
  // yet, and returns the norm before clipping.
  virtual at::Tensor update(AdamW& optimizer);
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

// The weights of one rank: all of them, or its shard of each block. Gaps between tensors are zero:
// the optimizer passes over whole buffers.
class ResidentParams : public ParamStore {
 public:
  // With `homes.master` there are fp32 master weights where those would not be equal to the
  // weights. `zero.mesh` outlives this.
  ResidentParams(const model::ModelLayout& layout, at::ScalarType dtype, const at::Device& device,
                 WeightHomes homes, const Zero& zero = {});
  // Of a block that this rank has whole.
  Lease lease(int64_t block) override;

  // Reads every tensor, one at a time.
  void load(const io::Checkpoint& checkpoint);
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
  const model::ModelLayout& layout_;
  Zero zero_;
  at::Device device_;
  std::vector<at::Tensor> whole_;    // [padded]; none where weights are sharded
  std::vector<at::Tensor> compute_;  // a view of whole_, where that is there
  std::vector<at::Tensor> master_;   // the same tensors where no other copy is needed
};

// Buffers that blocks pass through in turn: two for layers, one for the embedding and the head, or
// one for each where they are wanted at once.
struct BlockBuffers {
  static constexpr size_t kLayers = 2;  // the first ones
  // `apart`: the embedding and the head have one each.
  BlockBuffers(const model::ModelLayout& layout, const layout::Sharding& sharding, bool apart);
  std::vector<int64_t> sizes;  // elements
  size_t of(int64_t block) const;
  bool is_layer(int64_t block) const { return block > 0 && block < head_; }

 private:
  int64_t head_;
};

// Which blocks are brought into their buffers when blocks are wanted one after the other: a layer's
// comes while the one before it is at work. Pure, so that what will be brought can be foreseen.
class VisitOrder {
 public:
  explicit VisitOrder(const BlockBuffers& buffers)
      : buffers_(buffers), there_(buffers.sizes.size(), -1) {}
  // To bring now, in this order: the block where it is not there, and the layer that is next if the
  // order goes on as it did.
  std::vector<int64_t> want(int64_t block);
  // Nothing is there any more.
  void forget() { there_.assign(there_.size(), -1); }

 private:
  BlockBuffers buffers_;
  std::vector<int64_t> there_;  // the block in each buffer
  int64_t last_ = 0;            // layer that was wanted last
};

// Elements of the largest block of a layer.
int64_t widest_layer(const model::ModelLayout& layout);

// Readies a block's accumulator, [numel] or padded, for a pass: zero but for what backward
// overwrites, as ResidentGrads's `overwritten` says.
void clear_accumulator(const model::BlockLayout& block, bool overwritten, const at::Tensor& flat);

// Every rank has whole gradients of its own, which are summed over ranks in the last pass.
class ResidentGrads : public GradStore {
 public:
  // overwritten: of each block, whether backward writes all of its decayed part with products: it
  // is then not zeroed, which would be one pass over the memory more.
  ResidentGrads(const model::ModelLayout& layout, const at::Device& device,
                std::vector<bool> overwritten, const Zero& zero = {});
  at::Tensor accumulator(int64_t block) override;
  bool take_fresh(int64_t block) override;
  void finish(int64_t block) override;
  void clear() override;
  void begin_pass(bool last) override { last_ = last; }
  std::vector<at::Tensor>& sums() override;

 private:
  const model::ModelLayout& layout_;
  Zero zero_;
  std::vector<bool> overwritten_, fresh_;
  std::vector<at::Tensor> blocks_;  // [padded]
  std::vector<at::Tensor> sums_;    // views of them
  std::vector<dist::PendingPtr> pending_;
  bool last_ = true;
};

}  // namespace trireme::engine
