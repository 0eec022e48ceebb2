// The optimizer's state and its step over all blocks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "engine/device.h"
#include "engine/state_stream.h"
#include "engine/stores.h"
#include "model/layout.h"
#include "ops/adamw.h"

namespace trireme::engine {

// Where masters and moments are, and where updates are computed.
enum class UpdatePlace {
  kDevice,
  kHost,      // both on the host
  kStreamed,  // on the host, and on the device piece by piece
};

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;   // of matrices; norms and biases never decay
  double max_grad_norm = 0;  // 0: no clipping
  ops::MomentFormat moments = ops::MomentFormat::kFloat32;
  uint64_t seed = 0;  // of stochastic rounding
  UpdatePlace place = UpdatePlace::kDevice;
  bool clip_by_block = false;  // with begin(): each block by its own norm
};

// Of --moments_dtype.
ops::MomentFormat moment_format(const std::string& option);
// Of --offload_optimizer; kDevice where the device is the host.
UpdatePlace update_place(const config::RunConfig& run, const Machine& machine);
// Where fp32 master weights of what is trained are; nullopt: there are none. `state`: of what is
// streamed.
std::optional<MasterHome> master_home(const config::RunConfig& run, const Machine& machine,
                                      HostArena& state);

// Of both moments of all that is trained, on this rank.
int64_t moment_bytes(const model::ModelLayout& layout, ops::MomentFormat format,
                     const layout::Sharding& sharding = {});
// Of the arena of streamed state, with its masters or without.
int64_t state_arena_bytes(const model::ModelLayout& layout, bool master, ops::MomentFormat format,
                          const layout::Sharding& sharding = {});

// Adam moments beside the weights, of this rank's shards: a function of the step's number, the seed
// and what it was given.
class AdamW {
 public:
  // `state`: of what is streamed, with room for state_arena_bytes() beside the masters that are
  // there. All references outlive this.
  AdamW(const model::ModelLayout& layout, ResidentParams& params, const at::Device& device,
        AdamWOptions options, HostArena* state = nullptr, const Zero& zero = {});

  // Clips the gradients (fp32 shards of the layout's blocks, summed over ranks; they are consumed)
  // to the global norm and updates master and compute weights in one pass; bf16 weights without a
  // master are rounded stochastically. Returns the norm before clipping: 0-dim fp64 on the device,
  // so that nothing waits for it. On the host, each block's gradients are copied there and its new
  // weights back, one after the other, and the host waits for both; the bits are the device's.
  at::Tensor step(std::vector<at::Tensor>& grads, double learning_rate);

  // The same in parts, for gradients that are gone before the last is known: begin(), update() of
  // each block once, end(), which returns the norm. Then they are clipped by the global norm of the
  // step before (in the first one by their block's), or always by their block's.
  void begin(double learning_rate);
  void update(size_t block, const at::Tensor& grad);
  at::Tensor end();

 private:
  // Elements of a block, from its shard's `offset` on, which decay or do not.
  struct Part {
    size_t block;
    int64_t first, offset, count;
    double weight_decay;
    ops::Moments moments;
  };
  // What gradients of that norm are divided by, where the update is computed.
  at::Tensor divisor_of(const at::Tensor& norm) const;
  void update(size_t block, const at::Tensor& grad, const at::Tensor& divisor);
  void update(const Part& part, const at::Tensor& grad, const at::Tensor& divisor);
  ops::AdamWStep step_of(const Part& part) const;

  AdamWOptions options_;
  Zero zero_;
  ResidentParams& params_;
  int64_t steps_ = 0;
  double learning_rate_ = 0;
  std::vector<Part> parts_;
  std::optional<StateStream> stream_;
  at::Tensor squares_, norm_;  // of this step so far, of the step before: 0-dim fp64
};

}  // namespace trireme::engine
