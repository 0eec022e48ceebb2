// Gradients that are on the device only while backward adds to them: a few blocks' at a time, in
// buffers that take turns.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/stores.h"
#include "engine/transfer.h"

namespace trireme::engine {

class GradStream : public GradStore {
 public:
  // overwritten: as ResidentGrads'. tied: the embedding's gradient grows from the head's backward
  // to the end.
  GradStream(const model::ModelLayout& layout, bool tied, const at::Device& device,
             std::vector<bool> overwritten, const Zero& zero);

  // Of blocks in the order of backward: the next one's buffer is readied beside this one's.
  at::Tensor accumulator(int64_t block) override;
  bool take_fresh(int64_t block) override;
  // Sums them over ranks and passes them on, beside the backward of the blocks after it.
  void finish(int64_t block) override;
  void clear() override;
  void begin_pass(bool) override {}

 protected:
  // What the compute stream is given from now on comes after all that was finished.
  void settle();

  // Of a block's shard, asynchronously in the order of the current stream, which may overwrite
  // `mine` afterwards: whether earlier passes left something of it, to bring that, and what becomes
  // of the sum.
  virtual bool holds(int64_t) const { return false; }
  virtual void fetch(int64_t, const at::Tensor&) {}
  virtual void take(int64_t block, const at::Tensor& mine) = 0;

 private:
  struct Buffer {
    at::Tensor memory;
    int64_t block = -1;                // whose gradient is in it
    bool fresh = false;                // its matrices hold nothing yet
    std::unique_ptr<Arrival> arrival;  // of what fills or empties it
  };
  Buffer& buffer_of(int64_t block) { return buffers_[sizes_.of(block)]; }
  at::Tensor flat(const Buffer& buffer, int64_t block) const;  // [padded]
  // Begins to fill the block's buffer, which is free.
  void ready(int64_t block);

  const model::ModelLayout& layout_;
  Zero zero_;
  std::vector<bool> overwritten_;
  BlockBuffers sizes_;
  std::unique_ptr<SideStream> side_;
  std::vector<Buffer> buffers_;
};

}  // namespace trireme::engine
