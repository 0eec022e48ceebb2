#include "model/linear.h"

#include <ATen/ops/empty.h>

#include "base/rng.h"
#include "ops/dropout.h"
#include "ops/grouped.h"
#include "ops/linear.h"

namespace trireme::model {
namespace {

uint64_t mask_seed(const Lora& lora, const at::Tensor& x) {
  return ops::dropout_seed(lora.seed, lora.first_row * x.size(1));
}

uint64_t mixed(uint64_t seed, uint64_t index) { return Rng(seed + index).next(); }

// What the adapter reads: x, with dropout in training.
at::Tensor dropped(const at::Tensor& x, const Lora& lora) {
  if (lora.dropout == 0) return x;
  return ops::dropout(x, lora.dropout, mask_seed(lora, x));
}

at::Tensor outputs(const LinearAdapter::Part& part, const at::Tensor& y) {
  return y.narrow(1, part.first_row, part.rows);
}

at::Tensor ranks(const LinearAdapter::Part& part, const at::Tensor& t) {
  return t.narrow(1, part.first_rank, part.b.size(-1));
}

void add_through_dropout(at::Tensor& dx, const at::Tensor& du, const Lora& lora) {
  if (lora.dropout > 0) {
    ops::dropout_add_(dx, du, lora.dropout, mask_seed(lora, dx));
  } else {
    dx.add_(du);
  }
}

void add_adapter(const LinearAdapter& adapter, at::Tensor y, const at::Tensor& x,
                 const Lora& lora) {
  if (!adapter.present()) return;
  const at::Tensor t = ops::linear(dropped(x, lora), adapter.a);
  for (const auto& part : adapter.parts) {
    ops::add_product(outputs(part, y), ranks(part, t), part.b.t(), lora.scale);
  }
}

// Gradients of A and B, and dx += through the adapter.
void adapter_backward(const LinearAdapter& adapter, LinearAdapter& grads, at::Tensor& dx,
                      const at::Tensor& dy, const at::Tensor& x, const Lora& lora) {
  const at::Tensor input = dropped(x, lora), t = ops::linear(input, adapter.a);
  at::Tensor dt = at::empty(t.sizes(), t.options());
  for (size_t i = 0; i < adapter.parts.size(); ++i) {
    const auto& part = adapter.parts[i];
    const at::Tensor dpart = outputs(part, dy);
    ops::accumulate_weight_grad(grads.parts[i].b, dpart, ranks(part, t), lora.scale);
    ops::product(ranks(part, dt), dpart, part.b, lora.scale);
  }
  ops::accumulate_weight_grad(grads.a, dt, input);
  if (lora.dropout > 0) {
    add_through_dropout(dx, ops::matmul(dt, adapter.a), lora);
  } else {
    ops::add_product(dx, dt, adapter.a);
  }
}

void grouped_adapter_backward(const LinearAdapter& adapter, LinearAdapter& grads, at::Tensor& dx,
                              const at::Tensor& dy, const at::Tensor& x, const at::Tensor& ends,
                              const Lora& lora) {
  const at::Tensor input = dropped(x, lora), t = ops::grouped_linear(input, adapter.a, ends);
  at::Tensor dt = at::empty(t.sizes(), t.options());
  for (size_t i = 0; i < adapter.parts.size(); ++i) {
    const auto& part = adapter.parts[i];
    const at::Tensor dpart = outputs(part, dy);
    ops::accumulate_grouped_weight_grad(grads.parts[i].b, dpart, ranks(part, t), ends, lora.scale);
    ranks(part, dt).copy_(ops::grouped_linear_backward(dpart, part.b, ends).mul_(lora.scale));
  }
  ops::accumulate_grouped_weight_grad(grads.a, dt, input, ends);
  add_through_dropout(dx, ops::grouped_linear_backward(dt, adapter.a, ends), lora);
}

}  // namespace

Lora Lora::of_layer(int64_t layer) const {
  Lora lora = *this;
  lora.seed = mixed(seed, static_cast<uint64_t>(layer));
  return lora;
}

Lora Lora::of(Matrix matrix, int64_t first) const {
  Lora lora = *this;
  lora.seed = mixed(seed, static_cast<uint64_t>(matrix));
  lora.first_row = first;
  return lora;
}

at::Tensor linear(const Linear& layer, const at::Tensor& x, const Lora& lora, at::Tensor out) {
  if (!out.defined()) out = at::empty({x.size(0), layer.weight.size(0)}, x.options());
  ops::linear_out(out, x, layer.weight, layer.bias);
  add_adapter(layer.adapter, out, x, lora);
  return out;
}

void linear_add(const Linear& layer, at::Tensor out, const at::Tensor& base, const at::Tensor& x,
                const Lora& lora) {
  ops::linear_add(out, base, x, layer.weight, layer.bias);
  add_adapter(layer.adapter, out, x, lora);
}

at::Tensor linear_backward(const Linear& layer, Linear& grads, const at::Tensor& dy,
                           const at::Tensor& x, const Lora& lora) {
  if (grads.weight.defined()) ops::accumulate_weight_grad(grads.weight, dy, x);
  if (grads.bias.defined()) ops::accumulate_bias_grad(grads.bias, dy);
  at::Tensor dx = ops::matmul(dy, layer.weight);
  if (layer.adapter.present()) {
    adapter_backward(layer.adapter, grads.adapter, dx, dy, x, lora);
  }
  return dx;
}

at::Tensor grouped_linear(const Linear& layer, const at::Tensor& x, const at::Tensor& ends,
                          const Lora& lora) {
  at::Tensor y = ops::grouped_linear(x, layer.weight, ends);
  if (!layer.adapter.present()) return y;
  const at::Tensor t = ops::grouped_linear(dropped(x, lora), layer.adapter.a, ends);
  for (const auto& part : layer.adapter.parts) {
    outputs(part, y).add_(ops::grouped_linear(ranks(part, t), part.b, ends), lora.scale);
  }
  return y;
}

at::Tensor grouped_linear_backward(const Linear& layer, Linear& grads, const at::Tensor& dy,
                                   const at::Tensor& x, const at::Tensor& ends, const Lora& lora) {
  if (grads.weight.defined()) ops::accumulate_grouped_weight_grad(grads.weight, dy, x, ends);
  at::Tensor dx = ops::grouped_linear_backward(dy, layer.weight, ends);
  if (layer.adapter.present()) {
    grouped_adapter_backward(layer.adapter, grads.adapter, dx, dy, x, ends, lora);
  }
  return dx;
}

}  // namespace trireme::model
