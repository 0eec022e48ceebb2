// The optimizer's state and its step over all blocks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "engine/stores.h"
#include "model/layout.h"

namespace trireme::engine {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;   // of matrices; norms and biases never decay
  double max_grad_norm = 0;  // 0: no clipping
};

// Adam moments in fp32 beside fp32 weights.
class AdamW {
 public:
  AdamW(const model::ModelLayout& layout, const std::vector<at::Tensor>& weights,
        AdamWOptions options);

  // Clips the gradients (fp32 blocks of the layout; they are consumed) to the global norm and
  // updates master and compute weights in one pass. Returns the norm before clipping: 0-dim fp64 on
  // the device, so that nothing waits for it.
  at::Tensor step(ResidentParams& params, std::vector<at::Tensor>& grads, double learning_rate);

 private:
  const model::ModelLayout& layout_;
  AdamWOptions options_;
  int64_t steps_ = 0;
  std::vector<at::Tensor> first_, second_;  // moments, as the blocks
};

}  // namespace trireme::engine
