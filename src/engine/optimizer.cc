#include "engine/optimizer.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "ops/adamw.h"

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

AdamW::AdamW(const model::ModelLayout& layout, const std::vector<at::Tensor>& weights,
             AdamWOptions options)
    : layout_(layout), options_(options) {
  for (const at::Tensor& block : weights) {
    first_.push_back(at::zeros_like(block));
    second_.push_back(at::zeros_like(block));
  }
}

at::Tensor AdamW::step(ResidentParams& params, std::vector<at::Tensor>& grads,
                       double learning_rate) {
  ++steps_;
  const at::Tensor norm = global_norm(grads);
  const at::Tensor divisor = clip_divisor(norm, options_.max_grad_norm);
  for (size_t b = 0; b < grads.size(); ++b) {
    const model::BlockLayout& block = layout_.blocks[b];
    const at::Tensor& master = params.master()[b];
    const at::Tensor& compute = params.compute()[b];
    const auto update = [&](int64_t first, int64_t count, double weight_decay) {
      if (count == 0) return;
      const auto part = [&](const at::Tensor& flat) { return flat.narrow(0, first, count); };
      ops::adamw_(
          part(master), part(grads[b]), part(first_[b]), part(second_[b]),
          {learning_rate, options_.beta1, options_.beta2, options_.epsilon, weight_decay, steps_},
          divisor, compute.is_same(master) ? at::Tensor() : part(compute));
    };
    update(0, block.decayed, options_.weight_decay);
    update(block.decayed, block.numel - block.decayed, 0.0);
  }
  return norm;
}

}  // namespace trireme::engine
