// Gradients that are on the device only while backward adds to them: a few blocks' at a time, in
// buffers that take turns.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "device/transfer.h"
#include "plan/visits.h"
#include "state/grads.h"

namespace trireme::state {

class GradStream : public GradStore {
 public:
  // overwritten: as for ResidentGrads. tied: the embedding's gradient is added to from the head's
  // backward to the end.
  GradStream(const layout::ModelLayout& layout, bool tied, const at::Device& device,
             std::vector<bool> overwritten, const Zero& zero);

  // Call it for blocks in the order of backward. It also prepares the buffer of the next block,
  // unless the gradient in that buffer is still being summed over ranks.
  at::Tensor accumulator(int64_t block) override;
  bool take_overwrite(int64_t block) override;
  // Sums the block's gradients over ranks and passes them to take(), beside the backward of the
  // next blocks.
  void finish(int64_t block) override;
  void clear() override;
  void begin_pass(bool) override {}

 protected:
  // Work that is queued on the compute stream from now on runs after all finished blocks.
  void settle();

  // What a subclass does with this rank's shard of a block's sum, `mine`. holds(): whether earlier
  // passes have left a sum. fetch(): copies it into `mine`. take(): stores or consumes the new sum.
  // All are asynchronous in the order of the current stream, which may overwrite `mine` afterwards.
  virtual bool holds(int64_t) const { return false; }
  virtual void fetch(int64_t, const at::Tensor&) {}
  virtual void take(int64_t block, const at::Tensor& mine) = 0;

 private:
  struct Buffer {
    at::Tensor memory;
    int64_t block = -1;        // the block whose gradient is in it
    bool overwrite = false;    // its matrices hold nothing yet
    int64_t summed = -1;       // the block whose gradient is summed over ranks in it
    dist::PendingPtr pending;  // of that sum
    std::unique_ptr<device::Arrival> arrival;  // of what fills or empties it
  };
  Buffer& buffer_of(int64_t block) { return buffers_[sizes_.of(block)]; }
  at::Tensor flat(const Buffer& buffer, int64_t block) const;  // [padded]
  // Begins to fill the block's buffer, which is free.
  void ready(int64_t block);
  // Waits for the sum in the buffer, if there is one, and passes it to take().
  void take_sum(Buffer& buffer);

  const layout::ModelLayout& layout_;
  Zero zero_;
  std::vector<bool> overwritten_;
  plan::BlockBuffers sizes_;
  std::unique_ptr<device::SideStream> side_;
  std::vector<Buffer> buffers_;
};

// Every rank has its shard of the sums on the device; whole gradients exist only until they are
// summed (ZeRO-2 and 3).
class ShardedGrads : public GradStream {
 public:
  // Parameters as for GradStream.
  ShardedGrads(const layout::ModelLayout& layout, bool tied, const at::Device& device,
               std::vector<bool> overwritten, const Zero& zero);
  void clear() override;
  std::vector<at::Tensor>& sums() override;

 protected:
  void take(int64_t block, const at::Tensor& mine) override { sums_[block].add_(mine); }

 private:
  std::vector<at::Tensor> sums_;
};

}  // namespace trireme::state
