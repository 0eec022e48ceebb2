#include "engine/optimizer.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>

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

}  // namespace

ops::MomentFormat moment_format(const std::string& option) {
  if (option == "bfloat16") return ops::MomentFormat::kBFloat16;
  return option == "8bit" ? ops::MomentFormat::kEightBit : ops::MomentFormat::kFloat32;
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
  for (size_t b = 0; b < layout.blocks.size(); ++b) {
    const model::BlockLayout& block = layout.blocks[b];
    const auto add = [&](int64_t first, int64_t count, double weight_decay) {
      if (count == 0) return;
      parts_.push_back(
          {b, first, count, weight_decay, ops::zero_moments(count, options.moments, device)});
    };
    add(0, block.decayed, options.weight_decay);
    add(block.decayed, block.numel - block.decayed, 0.0);
  }
}

at::Tensor AdamW::step(ResidentParams& params, std::vector<at::Tensor>& grads,
                       double learning_rate) {
  RECORD_USER_SCOPE("optimizer");
  ++steps_;
  const at::Tensor norm = global_norm(grads);
  const at::Tensor divisor = clip_divisor(norm, options_.max_grad_norm);
  for (const Part& part : parts_) {
    update(part, params, grads[part.block], learning_rate, divisor);
  }
  return norm;
}

void AdamW::update(const Part& part, ResidentParams& params, const at::Tensor& grad,
                   double learning_rate, const at::Tensor& divisor) const {
  const at::Tensor& master = params.master()[part.block];
  const at::Tensor& compute = params.compute()[part.block];
  const auto narrow = [&](const at::Tensor& flat) {
    return flat.narrow(0, part.first, part.count);
  };
  const uint64_t seed = ops::counter_bits(options_.seed, static_cast<uint64_t>(steps_));
  ops::adamw_(narrow(master), narrow(grad), part.moments,
              {.learning_rate = learning_rate,
               .beta1 = options_.beta1,
               .beta2 = options_.beta2,
               .epsilon = options_.epsilon,
               .weight_decay = part.weight_decay,
               .step = steps_,
               .seed = ops::counter_bits(seed, part.block),
               .first = part.first},
              divisor, compute.is_same(master) ? at::Tensor() : narrow(compute));
}

}  // namespace trireme::engine
