// The optimizer's state and its step over all blocks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "engine/device.h"
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
  uint64_t seed = 0;     // of stochastic rounding
  bool on_host = false;  // moments are on the host and updates are computed there
};

// Of --moments_dtype.
ops::MomentFormat moment_format(const std::string& option);
// Whether --offload_optimizer takes master weights and moments to the host: not where the device is
// the host.
bool offloads_optimizer(const config::RunConfig& run, const Machine& machine);
// Where fp32 master weights of what is trained are; nullopt: there are none.
std::optional<at::Device> master_device(const config::RunConfig& run, const Machine& machine);

// Of both moments of all that is trained.
int64_t moment_bytes(const model::ModelLayout& layout, ops::MomentFormat format);

// Adam moments beside the weights: a function of the step's number, the seed and what it was given.
class AdamW {
 public:
  AdamW(const model::ModelLayout& layout, const at::Device& device, AdamWOptions options);

  // Clips the gradients (fp32 blocks of the layout; they are consumed) to the global norm and
  // updates master and compute weights in one pass; bf16 weights without a master are rounded
  // stochastically. Returns the norm before clipping: 0-dim fp64 on the device, so that nothing
  // waits for it. On the host, each block's gradients are copied there and its new weights back,
  // one after the other, and the host waits for both; the bits are the device's.
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
  ops::AdamWStep step_of(const Part& part, double learning_rate) const;

  AdamWOptions options_;
  int64_t steps_ = 0;
  std::vector<Part> parts_;
};

}  // namespace trireme::engine
