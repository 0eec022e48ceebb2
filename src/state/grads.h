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
  // Whether the block's matrices hold nothing yet, so that backward must overwrite them; said once.
  virtual bool take_overwrite(int64_t block) = 0;
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

// Readies a block's accumulator, [numel] or padded, for a pass: zero but for what backward
// overwrites, as ResidentGrads's `overwritten` says.
void clear_accumulator(const layout::BlockLayout& block, bool overwritten, const at::Tensor& flat);

// Every rank has whole gradients of its own, which are summed over ranks in the last pass.
class ResidentGrads : public GradStore {
 public:
  // overwritten: of each block, whether backward writes all of its decayed part with products: it
  // is then not zeroed, which would be one pass over the memory more.
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
