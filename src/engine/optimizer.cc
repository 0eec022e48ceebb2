#include "engine/optimizer.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "engine/host_adamw.h"
#include "engine/state_stream.h"
#include "ops/counter_bits.h"

namespace trireme::engine {
namespace {

// Elements [first, first + count) of a block, in this rank's shard, that decay or do not.
struct Range {
  size_t block;
  int64_t first, offset, count;
  bool decays;
};

std::vector<Range> ranges_of(const model::ModelLayout& layout, const layout::Sharding& sharding) {
  std::vector<Range> list;
  for (size_t b = 0; b < layout.blocks.size(); ++b) {
    const model::BlockLayout& block = layout.blocks[b];
    const layout::Shard shard = sharding.shard(block.numel);
    const int64_t end = shard.first + shard.count;
    const int64_t middle = std::clamp(block.decayed, shard.first, end);
    const auto add = [&](int64_t first, int64_t last, bool decays) {
      if (last > first) list.push_back({b, first, first - shard.first, last - first, decays});
    };
    add(shard.first, middle, true);
    add(middle, end, false);
  }
  return list;
}

// What gradients are divided by: torch.nn.utils.clip_grad_norm_'s (norm + 1e-6) / max, at least 1.
at::Tensor clip_divisor(const at::Tensor& norm, double max_norm) {
  if (max_norm <= 0) return at::ones({}, norm.options().dtype(at::kFloat));
  return ((norm + 1e-6) / max_norm).clamp_min(1.0).to(at::kFloat);
}

bool has_masters(ResidentParams& params) {
  return !params.compute().front().is_same(params.master().front());
}

// Zero, as zero_moments makes them.
ops::Moments moments_in(HostArena& arena, int64_t count, ops::MomentFormat format) {
  const at::ScalarType type = ops::moment_type(format);
  ops::Moments moments{arena.take(count, type), arena.take(count, type)};
  if (type != at::kByte) return moments;
  moments.first_absmax = arena.take(ops::quant_blocks(count), at::kFloat);
  moments.second_absmax = arena.take(ops::quant_blocks(count), at::kFloat);
  return moments;
}

}  // namespace

ops::MomentFormat moment_format(const std::string& option) {
  if (option == "bfloat16") return ops::MomentFormat::kBFloat16;
  return option == "8bit" ? ops::MomentFormat::kEightBit : ops::MomentFormat::kFloat32;
}

UpdatePlace update_place(const config::RunConfig& run, const Machine& machine) {
  if (machine.device.is_cpu() || run.offload_optimizer == "none") return UpdatePlace::kDevice;
  return run.offload_optimizer == "cpu" ? UpdatePlace::kHost : UpdatePlace::kStreamed;
}

bool host_grads(const config::RunConfig& run, const Machine& machine) {
  return update_place(run, machine) == UpdatePlace::kHost && !run.optimizer_in_backward;
}

std::optional<MasterHome> master_home(const config::RunConfig& run, const Machine& machine,
                                      HostArena& state) {
  if (!run.master_weights || machine.dtype == at::kFloat) return std::nullopt;
  if (update_place(run, machine) == UpdatePlace::kDevice) return MasterHome{machine.device};
  return MasterHome{at::kCPU, &state};
}

int64_t moment_bytes(const model::ModelLayout& layout, ops::MomentFormat format,
                     const layout::Sharding& sharding) {
  int64_t bytes = 0;
  for (const Range& range : ranges_of(layout, sharding)) {
    bytes += ops::moment_bytes(range.count, format);
  }
  return bytes;
}

int64_t state_arena_bytes(const model::ModelLayout& layout, bool master, ops::MomentFormat format,
                          const layout::Sharding& sharding) {
  const auto slot = HostArena::slot_bytes;
  int64_t bytes = 0;
  for (const model::BlockLayout& block : layout.blocks) {
    if (master) bytes += slot(4 * sharding.shard(block.numel).size);
  }
  const at::ScalarType type = ops::moment_type(format);
  for (const Range& range : ranges_of(layout, sharding)) {
    bytes += 2 * slot(range.count * static_cast<int64_t>(c10::elementSize(type)));
    if (type == at::kByte) bytes += 2 * slot(4 * ops::quant_blocks(range.count));
  }
  return bytes;
}

std::vector<at::Tensor> squares_of(const std::vector<at::Tensor>& grads) {
  std::vector<at::Tensor> squares;
  for (const at::Tensor& grad : grads) {
    squares.push_back(grad.numel() > 0 ? ops::sum_of_squares(grad) : at::Tensor());
  }
  return squares;
}

AdamW::AdamW(const model::ModelLayout& layout, ResidentParams& params, const at::Device& device,
             AdamWOptions options, OptimizerArenas arenas, const Zero& zero)
    : options_(options), zero_(zero), params_(params) {
  const bool here = options.place == UpdatePlace::kDevice;
  for (const Range& range : ranges_of(layout, zero)) {
    parts_.push_back({range.block, range.first, range.offset, range.count,
                      range.decays ? options.weight_decay : 0.0,
                      here ? ops::zero_moments(range.count, options.moments, device)
                           : moments_in(*arenas.state, range.count, options.moments)});
  }
  if (here) return;
  arenas.state->wait_until_pinned();
  if (options.place == UpdatePlace::kStreamed) {
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
}

at::Tensor AdamW::step(const std::vector<at::Tensor>& grads,
                       const std::vector<at::Tensor>& squares) {
  at::Tensor sum = at::zeros({}, params_.compute().front().options().dtype(at::kDouble));
  for (const at::Tensor& each : squares) {
    if (each.defined()) sum.add_(each);
  }
  const at::Tensor norm = zero_.sum(sum).sqrt();
  const at::Tensor divisor = clip_divisor(norm, options_.max_grad_norm);
  for (size_t b = 0; b < grads.size(); ++b) update(b, grads[b], divisor);
  if (remote_) remote_->settle();
  return norm;
}

at::Tensor AdamW::step(const std::vector<at::Tensor>& grads, double learning_rate) {
  begin(learning_rate);
  return step(grads, squares_of(grads));
}

void AdamW::update(size_t block, const at::Tensor& grad) {
  if (grad.numel() == 0) return;
  const at::Tensor squares = zero_.sum(ops::sum_of_squares(grad));
  squares_ = squares_.defined() ? squares_ + squares : squares;
  const bool own = options_.clip_by_block || !norm_.defined();
  update(block, grad, clip_divisor(own ? squares.sqrt() : norm_, options_.max_grad_norm));
}

at::Tensor AdamW::end() {
  if (remote_) remote_->settle();
  return norm_ = squares_.sqrt();
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

}  // namespace trireme::engine
