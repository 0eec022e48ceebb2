#include "state/optimizer.h"

#include <ATen/ops/full.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

#include "ops/counter_bits.h"
#include "plan/state_bytes.h"
#include "state/host_adamw.h"
#include "state/state_stream.h"

namespace trireme::state {
namespace {

using config::OptimizerOffload;

constexpr double kNotYet = std::numeric_limits<double>::quiet_NaN();

// The divisor of gradients of this norm: (norm + 1e-6) / max as in torch.nn.utils.clip_grad_norm_,
// at least 1. fp64.
at::Tensor clip_divisor(const at::Tensor& norm, double max_norm) {
  if (max_norm <= 0) return at::ones_like(norm);
  return ((norm + 1e-6) / max_norm).clamp_min(1.0);
}

// The divisor as adamw_ takes it; not finite, so that the update is skipped, if gradients of this
// norm must not be used: it is not finite, or after the division its square is not finite in fp32,
// which Adam's second moment would keep for ever. The host need not know.
at::Tensor checked(const at::Tensor& divisor, const at::Tensor& norm) {
  return (divisor + (norm / divisor).square().to(at::kFloat) * 0.0).to(at::kFloat);
}

// Zero, or NaN where x is not finite.
at::Tensor zero_if_finite(const at::Tensor& x) { return x * 0.0; }

bool has_masters(ResidentParams& params) {
  return !params.compute().front().is_same(params.master().front());
}

// Zero, as zero_moments makes them.
ops::Moments moments_in(device::HostArena& arena, int64_t count, MomentFormat format) {
  const at::ScalarType type = ops::moment_type(format);
  ops::Moments moments{arena.take(count, type), arena.take(count, type)};
  if (type != at::kByte) return moments;
  moments.first_absmax = arena.take(quant_blocks(count), at::kFloat);
  moments.second_absmax = arena.take(quant_blocks(count), at::kFloat);
  return moments;
}

}  // namespace

OptimizerOffload optimizer_offload(const config::MemoryOptions& options,
                                   const device::Machine& machine) {
  return machine.device.is_cpu() ? OptimizerOffload::kNone : options.offload_optimizer;
}

bool host_grads(const config::MemoryOptions& options, const device::Machine& machine) {
  return optimizer_offload(options, machine) == OptimizerOffload::kCpu &&
         !options.optimizer_in_backward;
}

std::optional<MasterHome> master_home(bool master_weights, OptimizerOffload offload,
                                      const device::Machine& machine, device::HostArena& state) {
  if (!master_weights || machine.dtype == at::kFloat) return std::nullopt;
  if (offload == OptimizerOffload::kNone) return MasterHome{machine.device};
  return MasterHome{at::kCPU, &state};
}

std::vector<at::Tensor> squares_of(const std::vector<at::Tensor>& grads) {
  std::vector<at::Tensor> squares;
  for (const at::Tensor& grad : grads) {
    squares.push_back(grad.numel() > 0 ? ops::sum_of_squares(grad) : at::Tensor());
  }
  return squares;
}

AdamW::AdamW(const layout::ModelLayout& layout, ResidentParams& params, const at::Device& device,
             AdamWOptions options, OptimizerArenas arenas, const Zero& zero)
    : options_(options),
      zero_(zero),
      params_(params),
      norm_(at::full({}, kNotYet, params.compute().front().options().dtype(at::kDouble))) {
  const bool here = options.offload == OptimizerOffload::kNone;
  for (const plan::StateRange& range : plan::state_ranges(layout, zero)) {
    parts_.push_back({range.block, range.first, range.offset, range.count,
                      range.decays ? options.weight_decay : 0.0,
                      here ? ops::zero_moments(range.count, options.moments, device)
                           : moments_in(*arenas.state, range.count, options.moments)});
  }
  if (here) return;
  arenas.state->wait_until_pinned();
  if (options.offload == OptimizerOffload::kStream) {
    remote_ =
        std::make_unique<StateStream>(device, *arenas.state, has_masters(params), options.moments);
  } else {
    remote_ = std::make_unique<HostAdamW>(
        device, *arenas.pieces, params.compute().front().scalar_type(), !options.host_grads);
  }
}

void AdamW::begin(double learning_rate) {
  ++steps_;
  learning_rate_ = learning_rate;
  squares_.reset();
  skip_.reset();
}

void AdamW::resume(int64_t steps, double last_norm) {
  steps_ = steps;
  norm_.fill_(last_norm);
}

at::Tensor AdamW::step(const std::vector<at::Tensor>& grads,
                       const std::vector<at::Tensor>& squares) {
  at::Tensor sum = at::zeros({}, params_.compute().front().options().dtype(at::kDouble));
  for (const at::Tensor& each : squares) {
    if (each.defined()) sum.add_(each);
  }
  const at::Tensor norm = zero_.sum(sum).sqrt();
  const at::Tensor divisor = checked(clip_divisor(norm, options_.max_grad_norm), norm);
  for (size_t b = 0; b < grads.size(); ++b) update(b, grads[b], divisor);
  if (remote_) remote_->settle();
  return norm + zero_if_finite(divisor);
}

at::Tensor AdamW::step(const std::vector<at::Tensor>& grads, double learning_rate) {
  begin(learning_rate);
  return step(grads, squares_of(grads));
}

void AdamW::update(size_t block, const at::Tensor& grad) {
  if (grad.numel() == 0) return;
  const at::Tensor squares = zero_.sum(ops::sum_of_squares(grad));
  squares_ = squares_.defined() ? squares_ + squares : squares;
  const at::Tensor own = squares.sqrt();
  const at::Tensor by = options_.clip_by_block ? own : at::where(norm_.isnan(), own, norm_);
  const at::Tensor divisor = checked(clip_divisor(by, options_.max_grad_norm), squares_.sqrt());
  const at::Tensor skip = zero_if_finite(divisor);
  skip_ = skip_.defined() ? skip_ + skip : skip;
  update(block, grad, divisor + skip_);
}

at::Tensor AdamW::end() {
  if (remote_) remote_->settle();
  const at::Tensor norm = squares_.sqrt() + skip_;
  norm_ = at::where(norm.isnan(), norm_, norm);
  return norm;
}

double AdamW::host_seconds() const {
  const auto* host = dynamic_cast<const HostAdamW*>(remote_.get());
  return host != nullptr ? host->seconds() : 0;
}

void AdamW::update(size_t block, const at::Tensor& grad, const at::Tensor& divisor) {
  for (const Part& part : parts_) {
    if (part.block == block) update(part, grad.narrow(0, part.offset, part.count), divisor);
  }
}

void AdamW::update(const Part& part, const at::Tensor& grad, const at::Tensor& divisor) {
  const auto narrow = [&](const at::Tensor& flat) {
    return flat.narrow(0, part.offset, part.count);
  };
  const at::Tensor weight = narrow(params_.compute()[part.block]);
  const AdamWState state{has_masters(params_) ? narrow(params_.master()[part.block]) : at::Tensor(),
                         part.moments};
  const ops::AdamWStep step = step_of(part);
  if (remote_) return remote_->update(state, weight, grad, step, divisor);
  state.update(weight, grad, step, divisor);
}

ops::AdamWStep AdamW::step_of(const Part& part) const {
  const uint64_t seed = ops::counter_bits(options_.seed, static_cast<uint64_t>(steps_));
  return {.learning_rate = learning_rate_,
          .beta1 = options_.beta1,
          .beta2 = options_.beta2,
          .epsilon = options_.epsilon,
          .weight_decay = part.weight_decay,
          .step = steps_,
          .seed = ops::counter_bits(seed, part.block),
          .first = part.first};
}

}  // namespace trireme::state
