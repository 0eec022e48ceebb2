// Gradients that the optimizer consumes within the backward pass: a block's weights are updated
// beside the backward of the blocks after it, and no gradient of the whole model ever exists
// (Lv et al. 2023, "Full Parameter Fine-tuning for Large Language Models with Limited Resources").
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "state/grad_stream.h"
#include "state/optimizer.h"

namespace trireme::state {

class FusedGrads : public GradStream {
 public:
  // Parameters as for GradStream. The optimizer's step must begin before the first pass;
  // `optimizer` outlives this.
  FusedGrads(const layout::ModelLayout& layout, bool tied, const at::Device& device,
             std::vector<bool> overwritten, AdamW& optimizer, const Zero& zero = {})
      : GradStream(layout, tied, device, std::move(overwritten), zero), optimizer_(optimizer) {}

  std::vector<at::Tensor>& sums() override { return none_; }
  at::Tensor update(AdamW& optimizer) override {
    settle();
    return optimizer.end();
  }

 protected:
  void take(int64_t block, const at::Tensor& mine) override {
    optimizer_.update(static_cast<size_t>(block), mine);
  }

 private:
  AdamW& optimizer_;
  std::vector<at::Tensor> none_;
};

}  // namespace trireme::state
