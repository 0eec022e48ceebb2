// The optimizer's state and its step over all blocks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "device/machine.h"
#include "layout/parameters.h"
#include "ops/adamw.h"
#include "state/params.h"
#include "state/remote_adamw.h"

namespace trireme::state {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;   // of matrices; norms and biases never decay
  double max_grad_norm = 0;  // 0: no clipping
  MomentFormat moments = MomentFormat::kFloat32;
  uint64_t seed = 0;  // of stochastic rounding
  config::OptimizerOffload offload = config::OptimizerOffload::kNone;
  bool clip_by_block = false;  // in parts: each block by its own norm
  bool host_grads = false;     // with kCpu: gradients are on the host too
};

// Host memory that an optimizer takes its own from.
struct OptimizerArenas {
  device::HostArena* state =
      nullptr;  // of kCpu and kStream: plan::state_arena_bytes() beside the masters
  device::HostArena* pieces = nullptr;  // of kCpu: plan::host_pieces_bytes()
};

// --offload_optimizer; kNone where the device is the host.
config::OptimizerOffload optimizer_offload(const config::MemoryOptions& options,
                                           const device::Machine& machine);
// Whether gradients are on the host, where the optimizer is.
bool host_grads(const config::MemoryOptions& options, const device::Machine& machine);
// Where the fp32 master weights are. nullopt: there are none, or the weights are fp32 themselves.
// `state` is the arena for master weights on the host.
std::optional<MasterHome> master_home(bool master_weights, config::OptimizerOffload offload,
                                      const device::Machine& machine, device::HostArena& state);

// The sum of squares of each gradient; undefined for an empty one.
std::vector<at::Tensor> squares_of(const std::vector<at::Tensor>& grads);

// Adam moments of this rank's shards of the weights. The result depends only on the step's number,
// the seed and the gradients.
//
// A step whose norm is not finite is skipped: weights and moments keep their bits. So is one whose
// gradients, clipped, are too large for fp32 to hold their squares. It counts as a step: for the
// seed and for the correction of Adam's bias.
class AdamW {
 public:
  // All references outlive this.
  AdamW(const layout::ModelLayout& layout, ResidentParams& params, const at::Device& device,
        AdamWOptions options, OptimizerArenas arenas = {}, const Zero& zero = {});

  // Call at the beginning of each step.
  void begin(double learning_rate);
  // Clips the gradients (fp32 shards of the layout's blocks, summed over ranks; they are consumed)
  // to the global norm and updates master and compute weights in one pass; bf16 weights without a
  // master are rounded stochastically. `squares` are the sums of squares of each block, 0-dim fp64
  // on the device, undefined for an empty block. Returns the norm before clipping, as such a
  // tensor, so that the host need not wait; not finite if the step was skipped. Asynchronous: work
  // that is queued on the current stream afterwards runs after the update. The bits do not depend
  // on where state and gradients are.
  at::Tensor step(const std::vector<at::Tensor>& grads, const std::vector<at::Tensor>& squares);

  // The same as a whole step: begin(), the sums of squares, and the update.
  at::Tensor step(const std::vector<at::Tensor>& grads, double learning_rate);

  // The same in parts, for gradients that are released before the last one is known: call update()
  // once for each block, then end(), which returns the norm. Gradients are clipped by the global
  // norm of the last step that was not skipped (before there is one, by their block's), or always
  // by their block's. A norm that is not finite shows only as blocks come: the blocks before it in
  // this step have been updated, and it and those after it are not.
  void update(size_t block, const at::Tensor& grad);
  at::Tensor end();

  // Seconds of AdamW on the host so far, once the device is idle.
  double host_seconds() const;

  // Elements of a block, from its shard's `offset` on, which decay or do not.
  struct Part {
    size_t block;
    int64_t first, offset, count;
    double weight_decay;
    ops::Moments moments;
  };
  const std::vector<Part>& parts() const { return parts_; }
  // Goes on after this many steps, of which the last that was not skipped had that norm (NaN: there
  // was none). The moments are set in place.
  void resume(int64_t steps, double last_norm);

 private:
  void update(size_t block, const at::Tensor& grad, const at::Tensor& divisor);
  void update(const Part& part, const at::Tensor& grad, const at::Tensor& divisor);
  ops::AdamWStep step_of(const Part& part) const;

  AdamWOptions options_;
  Zero zero_;
  ResidentParams& params_;
  int64_t steps_ = 0;
  double learning_rate_ = 0;
  std::vector<Part> parts_;
  std::unique_ptr<RemoteAdamW> remote_;  // for state on the host
  // 0-dim. In parts: the sum of squares of this step so far; 0, or NaN from the first block on that
  // must not be used; and the norm of the last step that was not skipped, NaN before there is one.
  at::Tensor squares_, skip_, norm_;
};

}  // namespace trireme::state
