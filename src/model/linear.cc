#include "model/linear.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "base/rng.h"
#include "model/dora.h"
#include "ops/dropout.h"
#include "ops/grouped.h"
#include "ops/linear.h"

namespace trireme::model {
namespace {

using layout::Range;

// The positions of x's rows.
layout::Rows positions(const LoraPass& lora, const at::Tensor& x) {
  const Range rows{lora.first_row, lora.first_row + x.size(0)};
  return lora.rows == nullptr ? layout::Rows{rows} : layout::slice(*lora.rows, rows);
}

uint64_t mask_seed(const LoraPass& lora, int64_t first, const at::Tensor& x) {
  return ops::dropout_seed(lora.seed, first * x.size(1));
}

uint64_t mixed(uint64_t seed, uint64_t index) { return Rng(seed + index).next(); }

// Experts' rows are sorted by expert. They share one mask: that of as many rows, counted from the
// tile's first.
LoraPass of_experts(LoraPass lora) {
  if (lora.rows == nullptr) return lora;
  const layout::Rows first = layout::slice(*lora.rows, {lora.first_row, lora.first_row + 1});
  lora.first_row = first.empty() ? 0 : first.front().first;
  lora.rows = nullptr;
  return lora;
}

// What the adapter reads: x, with dropout in training.
at::Tensor dropped(const at::Tensor& x, const LoraPass& lora) {
  if (lora.dropout == 0 || x.size(0) == 0) return x;
  std::vector<at::Tensor> parts;
  int64_t at = 0;
  for (const Range& range : positions(lora, x)) {
    parts.push_back(
        ops::dropout(x.narrow(0, at, range.size()), lora.dropout, mask_seed(lora, range.first, x)));
    at += range.size();
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

// The adjoint of dropped(), added to dx.
void add_dropped(const at::Tensor& dx, const at::Tensor& du, const LoraPass& lora) {
  int64_t at = 0;
  for (const Range& range : positions(lora, dx)) {
    at::Tensor to = dx.narrow(0, at, range.size());
    ops::dropout_add_(to, du.narrow(0, at, range.size()), lora.dropout,
                      mask_seed(lora, range.first, dx));
    at += range.size();
  }
}

at::Tensor outputs(const LinearAdapter::Part& part, const at::Tensor& y) {
  return y.narrow(1, part.first_row, part.rows);
}

at::Tensor rank_slice(const LinearAdapter::Part& part, const at::Tensor& t) {
  return t.narrow(1, part.first_rank, part.b.size(-1));
}

void add_adapter(const LinearAdapter& adapter, at::Tensor y, const at::Tensor& x,
                 const LoraPass& lora) {
  if (!adapter.present()) return;
  const at::Tensor input = dropped(x, lora), t = ops::linear(input, adapter.a);
  if (adapter.direct.defined()) ops::add_product(y, input, adapter.direct.t());
  for (const auto& part : adapter.parts) {
    ops::add_product(outputs(part, y), rank_slice(part, t), part.b.t(), part.scale);
  }
}

// The gradient at A's outputs: scale * dy B, part by part.
at::Tensor narrow_grad(const LinearAdapter& adapter, const at::Tensor& dy) {
  at::Tensor dt = at::empty({dy.size(0), adapter.a.size(-2)}, dy.options());
  for (const auto& part : adapter.parts) {
    ops::product(rank_slice(part, dt), outputs(part, dy), part.b, part.scale);
  }
  return dt;
}

at::Tensor grouped_narrow_grad(const LinearAdapter& adapter, const at::Tensor& dy,
                               const at::Tensor& ends) {
  at::Tensor dt = at::empty({dy.size(0), adapter.a.size(-2)}, dy.options());
  for (const auto& part : adapter.parts) {
    rank_slice(part, dt).copy_(
        ops::grouped_linear_backward(outputs(part, dy), part.b, ends).mul_(part.scale));
  }
  return dt;
}

}  // namespace

LoraPass LoraPass::of_layer(int64_t layer) const {
  LoraPass lora = *this;
  lora.seed = mixed(seed, static_cast<uint64_t>(layer));
  return lora;
}

LoraPass LoraPass::of(Matrix matrix, int64_t first) const {
  LoraPass lora = *this;
  lora.seed = mixed(seed, static_cast<uint64_t>(matrix));
  lora.first_row += first;
  return lora;
}

void add_biases(Linear& layer) {
  if (layer.trained_biases.empty()) return;
  layer.bias = layer.bias.defined() ? layer.bias.clone()
                                    : at::zeros({layer.weight.size(0)}, layer.weight.options());
  for (const TrainedBias& trained : layer.trained_biases) {
    at::Tensor rows = layer.bias.narrow(0, trained.first_row, trained.bias.size(0));
    trained.of_base ? rows.copy_(trained.bias) : rows.add_(trained.bias, trained.scale);
  }
}

at::Tensor linear(const Linear& layer, const at::Tensor& x, const LoraPass& lora, at::Tensor out) {
  if (!out.defined()) out = at::empty({x.size(0), layer.weight.size(0)}, x.options());
  ops::linear_out(out, x, layer.weight, layer.bias);
  add_adapter(layer.adapter, out, x, lora);
  return out;
}

void linear_add(const Linear& layer, at::Tensor out, const at::Tensor& base, const at::Tensor& x,
                const LoraPass& lora) {
  ops::linear_add(out, base, x, layer.weight, layer.bias);
  add_adapter(layer.adapter, out, x, lora);
}

InputGrad linear_input_grad(const Linear& layer, const at::Tensor& dy, const LoraPass& lora) {
  InputGrad grad{ops::matmul(dy, layer.weight), {}};
  if (!layer.adapter.present()) return grad;
  grad.narrow = narrow_grad(layer.adapter, dy);
  if (lora.dropout > 0) {
    const at::Tensor du = ops::matmul(grad.narrow, layer.adapter.a);
    if (layer.adapter.direct.defined()) ops::add_product(du, dy, layer.adapter.direct);
    add_dropped(grad.dx, du, lora);
  } else {
    ops::add_product(grad.dx, grad.narrow, layer.adapter.a);
    if (layer.adapter.direct.defined()) ops::add_product(grad.dx, dy, layer.adapter.direct);
  }
  return grad;
}

void linear_weight_grads(const Linear& layer, Linear& grads, const at::Tensor& dy,
                         const at::Tensor& x, const at::Tensor& narrow, const LoraPass& lora) {
  if (grads.weight.defined()) {
    ops::accumulate_weight_grad(grads.weight, dy, x, 1, std::exchange(grads.overwrite, false));
  }
  if (grads.bias.defined()) ops::accumulate_bias_grad(grads.bias, dy);
  for (TrainedBias& trained : grads.trained_biases) {
    const int64_t rows = trained.bias.size(0);
    ops::accumulate_bias_grad(trained.bias, dy.narrow(1, trained.first_row, rows), trained.scale);
  }
  if (!grads.adapter.present()) return;
  const at::Tensor input = dropped(x, lora);
  ops::accumulate_weight_grad(grads.adapter.a, narrow, input);
  if (layer.adapter.weight.defined()) {
    return magnitude_grads(layer.adapter, grads.adapter, dy, input);
  }
  const at::Tensor t = ops::linear(input, layer.adapter.a);
  for (size_t i = 0; i < grads.adapter.parts.size(); ++i) {
    const auto& part = layer.adapter.parts[i];
    ops::accumulate_weight_grad(grads.adapter.parts[i].b, outputs(part, dy), rank_slice(part, t),
                                part.scale);
  }
}

at::Tensor linear_backward(const Linear& layer, Linear& grads, const at::Tensor& dy,
                           const at::Tensor& x, const LoraPass& lora) {
  InputGrad grad = linear_input_grad(layer, dy, lora);
  linear_weight_grads(layer, grads, dy, x, grad.narrow, lora);
  return std::move(grad.dx);
}

at::Tensor grouped_linear(const Linear& layer, const at::Tensor& x, const at::Tensor& ends,
                          const LoraPass& lora) {
  at::Tensor y = ops::grouped_linear(x, layer.weight, ends);
  if (!layer.adapter.present()) return y;
  const at::Tensor t = ops::grouped_linear(dropped(x, of_experts(lora)), layer.adapter.a, ends);
  for (const auto& part : layer.adapter.parts) {
    outputs(part, y).add_(ops::grouped_linear(rank_slice(part, t), part.b, ends), part.scale);
  }
  return y;
}

InputGrad grouped_input_grad(const Linear& layer, const at::Tensor& dy, const at::Tensor& ends,
                             const LoraPass& lora) {
  InputGrad grad{ops::grouped_linear_backward(dy, layer.weight, ends), {}};
  if (!layer.adapter.present()) return grad;
  grad.narrow = grouped_narrow_grad(layer.adapter, dy, ends);
  const at::Tensor du = ops::grouped_linear_backward(grad.narrow, layer.adapter.a, ends);
  if (lora.dropout > 0) {
    add_dropped(grad.dx, du, of_experts(lora));
  } else {
    grad.dx.add_(du);
  }
  return grad;
}

void grouped_weight_grads(const Linear& layer, Linear& grads, const at::Tensor& dy,
                          const at::Tensor& x, const at::Tensor& narrow, const at::Tensor& ends,
                          const LoraPass& lora) {
  if (grads.weight.defined()) ops::accumulate_grouped_weight_grad(grads.weight, dy, x, ends);
  if (!grads.adapter.present()) return;
  const at::Tensor input = dropped(x, of_experts(lora));
  const at::Tensor t = ops::grouped_linear(input, layer.adapter.a, ends);
  for (size_t i = 0; i < grads.adapter.parts.size(); ++i) {
    const auto& part = layer.adapter.parts[i];
    ops::accumulate_grouped_weight_grad(grads.adapter.parts[i].b, outputs(part, dy),
                                        rank_slice(part, t), ends, part.scale);
  }
  ops::accumulate_grouped_weight_grad(grads.adapter.a, narrow, input, ends);
}

at::Tensor grouped_linear_backward(const Linear& layer, Linear& grads, const at::Tensor& dy,
                                   const at::Tensor& x, const at::Tensor& ends,
                                   const LoraPass& lora) {
  InputGrad grad = grouped_input_grad(layer, dy, ends, lora);
  grouped_weight_grads(layer, grads, dy, x, grad.narrow, ends, lora);
  return std::move(grad.dx);
}

}  // namespace trireme::model
