// Where gradients are. The executor hands over a block's gradients; it does not know whether they
// are resident, sharded or offloaded.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "layout/parameters.h"
#include "state/zero.h"

namespace trireme::state {

class AdamW;

class GradStore {
 public:
  virtual ~GradStore() = default;
  // The block's fp32 accumulator, flat; backward adds to it.
  virtual at::Tensor accumulator(int64_t block) = 0;
  // Whether the block's matrices hold nothing yet, so that backward must overwrite them. True only
  // for the first call.
  virtual bool take_overwrite(int64_t block) = 0;
  // Call when a pass has added all its gradients to the block.
  virtual void finish(int64_t block) = 0;
  // Drops all gradients. Call at the beginning of a step.
  virtual void clear() = 0;
  // Call at the beginning of each pass. `last`: it is the last one of its step.
  virtual void begin_pass(bool last) = 0;
  // Waits for, and returns, fp32 blocks of this rank's shards, summed over ranks. Empty if the
  // optimizer has consumed them already.
  virtual std::vector<at::Tensor>& sums() = 0;
  // After the last pass of a step that the optimizer has begun: updates what it has not updated
  // yet, and returns the norm before clipping.
  virtual at::Tensor update(AdamW& optimizer);
};

// Prepares a block's accumulator, [numel] or padded, for a pass: zeroes all but what backward
// overwrites. `overwritten` is as for ResidentGrads.
void clear_accumulator(const layout::BlockLayout& block, bool overwritten, const at::Tensor& flat);

// Every rank has whole gradients of its own, which are summed over ranks in the last pass.
class ResidentGrads : public GradStore {
 public:
  // overwritten: for each block, whether backward writes all of its decayed part with products.
  // That part is then not zeroed, which saves one pass over the memory.
  ResidentGrads(const layout::ModelLayout& layout, const at::Device& device,
                std::vector<bool> overwritten, const Zero& zero = {});
  at::Tensor accumulator(int64_t block) override;
  bool take_overwrite(int64_t block) override;
  void finish(int64_t block) override;
  void clear() override;
  void begin_pass(bool last) override { last_ = last; }
  std::vector<at::Tensor>& sums() override;

 private:
  const layout::ModelLayout& layout_;
  Zero zero_;
  std::vector<bool> overwritten_, overwrite_next_;
  std::vector<at::Tensor> blocks_;  // [padded]
  std::vector<at::Tensor> sums_;    // views of them
  std::vector<dist::PendingPtr> pending_;
  bool last_ = true;
};

}  // namespace trireme::state
