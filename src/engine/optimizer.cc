#include "engine/optimizer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include "ops/counter_bits.h"

namespace trireme::engine {
namespace {

at::Tensor global_norm(const std::vector<at::Tensor>& blocks) {
  at::Tensor sum = at::zeros({}, blocks.front().options().dtype(at::kDouble));
  for (const at::Tensor& block : blocks) {
    if (block.numel() > 0) sum.add_(ops::sum_of_squares(block));
  }
  return sum.sqrt();
}

// What gradients are divided by: torch.nn.utils.clip_grad_norm_'s (norm + 1e-6) / max, at least 1.
at::Tensor clip_divisor(const at::Tensor& norm, double max_norm) {
  if (max_norm <= 0) return at::ones({}, norm.options().dtype(at::kFloat));
  return ((norm + 1e-6) / max_norm).clamp_min(1.0).to(at::kFloat);
}

// Where there is no master, the weights themselves travel both ways.
void update_on_host(const at::Tensor& master, const at::Tensor& compute, const at::Tensor& grad,
                    const ops::Moments& moments, const ops::AdamWStep& step,
                    const at::Tensor& divisor) {
  const at::Tensor param = master.to(at::kCPU);
  const bool rounds = param.scalar_type() != compute.scalar_type();
  const at::Tensor weight =
      rounds ? at::empty(param.sizes(), param.options().dtype(compute.scalar_type())) : param;
  ops::adamw_(param, grad.to(at::kCPU), moments, step, divisor, rounds ? weight : at::Tensor());
  if (weight.data_ptr() != compute.data_ptr()) compute.copy_(weight);
}

}  // namespace

ops::MomentFormat moment_format(const std::string& option) {
  if (option == "bfloat16") return ops::MomentFormat::kBFloat16;
  return option == "8bit" ? ops::MomentFormat::kEightBit : ops::MomentFormat::kFloat32;
}

bool offloads_optimizer(const config::RunConfig& run, const Machine& machine) {
  return run.offload_optimizer == "cpu" && !machine.device.is_cpu();
}

std::optional<at::Device> master_device(const config::RunConfig& run, const Machine& machine) {
  if (!run.master_weights) return std::nullopt;
  return offloads_optimizer(run, machine) ? at::Device(at::kCPU) : machine.device;
}

int64_t moment_bytes(const model::ModelLayout& layout, ops::MomentFormat format) {
  int64_t bytes = 0;
  for (const model::BlockLayout& block : layout.blocks) {
    bytes += ops::moment_bytes(block.decayed, format) +
             ops::moment_bytes(block.numel - block.decayed, format);
  }
  return bytes;
}

AdamW::AdamW(const model::ModelLayout& layout, const at::Device& device, AdamWOptions options)
    : options_(options) {
  const at::Device home = options.on_host ? at::Device(at::kCPU) : device;
  for (size_t b = 0; b < layout.blocks.size(); ++b) {
    const model::BlockLayout& block = layout.blocks[b];
    const auto add = [&](int64_t first, int64_t count, double weight_decay) {
      if (count == 0) return;
      parts_.push_back(
          {b, first, count, weight_decay, ops::zero_moments(count, options.moments, home)});
    };
    add(0, block.decayed, options.weight_decay);
    add(block.decayed, block.numel - block.decayed, 0.0);
  }
}

at::Tensor AdamW::step(ResidentParams& params, std::vector<at::Tensor>& grads,
                       double learning_rate) {
  ++steps_;
  const at::Tensor norm = global_norm(grads);
  at::Tensor divisor = clip_divisor(norm, options_.max_grad_norm);
  if (options_.on_host) divisor = divisor.to(at::kCPU);
  for (const Part& part : parts_) {
    update(part, params, grads[part.block], learning_rate, divisor);
  }
  return norm;
}

void AdamW::update(const Part& part, ResidentParams& params, const at::Tensor& grad,
                   double learning_rate, const at::Tensor& divisor) const {
  const auto narrow = [&](const at::Tensor& flat) {
    return flat.narrow(0, part.first, part.count);
  };
  const at::Tensor master = narrow(params.master()[part.block]);
  const at::Tensor compute = narrow(params.compute()[part.block]);
  const ops::AdamWStep step = step_of(part, learning_rate);
  if (options_.on_host) {
    update_on_host(master, compute, narrow(grad), part.moments, step, divisor);
  } else {
    const bool copy = !params.compute()[part.block].is_same(params.master()[part.block]);
    ops::adamw_(master, narrow(grad), part.moments, step, divisor, copy ? compute : at::Tensor());
  }
}

ops::AdamWStep AdamW::step_of(const Part& part, double learning_rate) const {
  const uint64_t seed = ops::counter_bits(options_.seed, static_cast<uint64_t>(steps_));
  return {.learning_rate = learning_rate,
          .beta1 = options_.beta1,
          .beta2 = options_.beta2,
          .epsilon = options_.epsilon,
          .weight_decay = part.weight_decay,
          .step = steps_,
          .seed = ops::counter_bits(seed, part.block),
          .first = part.first};
}

}  // namespace trireme::engine
