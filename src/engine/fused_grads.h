// Gradients that the optimizer consumes within the backward pass: a block's weights are updated
// beside the backward of the blocks after it, and no gradient of the whole model ever exists
// (Lv et al. 2023, "Full Parameter Fine-tuning for Large Language Models with Limited Resources").
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/optimizer.h"
#include "engine/stores.h"
#include "engine/transfer.h"

namespace trireme::engine {

class FusedGrads : public GradStore {
 public:
  // overwritten: as ResidentGrads'. tied: the embedding's gradient grows from the head's backward
  // to the end. `optimizer` outlives this.
  FusedGrads(const model::ModelLayout& layout, bool tied, const at::Device& device,
             std::vector<bool> overwritten, AdamW& optimizer, const Zero& zero = {});

  at::Tensor accumulator(int64_t block) override;
  bool take_fresh(int64_t block) override;
  // Sums them over ranks and updates the block's weights, asynchronously.
  void finish(int64_t block) override;
  // What is given to the compute stream from now on comes after all updates.
  void clear() override;
  void begin_pass(bool) override {}

 private:
  struct Buffer {
    at::Tensor memory;
    int64_t block = -1;                // whose gradient is in it
    std::unique_ptr<Arrival> arrival;  // of the update that reads it
  };
  const model::ModelLayout& layout_;
  Zero zero_;
  std::vector<bool> overwritten_;
  AdamW& optimizer_;
  BlockBuffers sizes_;
  std::unique_ptr<SideStream> side_;
  std::vector<Buffer> buffers_;
  bool fresh_ = false;
};

}  // namespace trireme::engine
