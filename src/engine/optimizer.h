// The optimizer's state and its step over all blocks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "engine/stores.h"
#include "model/layout.h"
#include "ops/adamw.h"

namespace trireme::engine {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;   // of matrices; norms and biases never decay
  double max_grad_norm = 0;  // 0: no clipping
  ops::MomentFormat moments = ops::MomentFormat::kFloat32;
  uint64_t seed = 0;  // of stochastic rounding
};

// Of --moments_dtype.
ops::MomentFormat moment_format(const std::string& option);
// Of both moments of all that is trained.
int64_t moment_bytes(const model::ModelLayout& layout, ops::MomentFormat format);

// Adam moments beside the weights: a function of the step's number, the seed and what it was given.
class AdamW {
 public:
  AdamW(const model::ModelLayout& layout, const at::Device& device, AdamWOptions options);

  // Clips the gradients (fp32 blocks of the layout; they are consumed) to the global norm and
  // updates master and compute weights in one pass; bf16 weights without a master are rounded
  // stochastically. Returns the norm before clipping: 0-dim fp64 on the device, so that nothing
  // waits for it.
  at::Tensor step(ResidentParams& params, std::vector<at::Tensor>& grads, double learning_rate);

 private:
  // Elements [first, first + count) of a block, which decay or do not.
  struct Part {
    size_t block;
    int64_t first, count;
    double weight_decay;
    ops::Moments moments;
  };
  void update(const Part& part, ResidentParams& params, const at::Tensor& grad,
              double learning_rate, const at::Tensor& divisor) const;

  AdamWOptions options_;
  int64_t steps_ = 0;
  std::vector<Part> parts_;
};

}  // namespace trireme::engine
