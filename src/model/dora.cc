#include "model/dora.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/ones.h>

#include <algorithm>

#include "ops/linear.h"
#include "plan/length_tile.h"

namespace trireme::model {
namespace {

// Of V, or of the outputs.
int64_t tile_rows(int64_t width) { return std::max<int64_t>(64, plan::kLengthTile / width); }

at::Tensor rows_of(const LinearAdapter::Part& part, const at::Tensor& matrix) {
  return matrix.narrow(0, part.first_row, part.rows);
}

at::Tensor a_of(const LinearAdapter& adapter, const LinearAdapter::Part& part) {
  return adapter.a.narrow(0, part.first_rank, part.b.size(1));
}

// x * factor in x's dtype, from a product in fp32: a factor near 1 does not survive bf16.
at::Tensor scaled(const at::Tensor& x, const at::Tensor& factor) {
  at::Tensor out = at::empty(x.sizes(), x.options());
  at::mul_out(out, x, factor);
  return out;
}

void fold(Linear& layer, bool dropout, std::vector<at::Tensor>& norms, size_t& next) {
  LinearAdapter& adapter = layer.adapter;
  if (!adapter.present() || !adapter.parts.front().magnitude.defined()) return;
  adapter.weight = layer.weight;
  const at::TensorOptions fp32 = layer.weight.options().dtype(at::kFloat);
  const at::Tensor factor = at::ones({layer.weight.size(0), 1}, fp32);
  for (LinearAdapter::Part& part : adapter.parts) {
    if (next == norms.size()) {
      norms.push_back(
          row_norms(rows_of(part, layer.weight), a_of(adapter, part), part.b, part.scale));
    }
    part.norm = norms[next++];
    const at::Tensor of_part = (part.magnitude.to(at::kFloat) / part.norm).unsqueeze(1);
    rows_of(part, factor).copy_(of_part);
    part.factor = of_part.squeeze(1);
    part.plain_b = part.b;
    part.b = scaled(part.b, of_part);
  }
  if (dropout) {
    adapter.direct = scaled(layer.weight, factor - 1);
  } else {
    layer.weight = scaled(layer.weight, factor);
  }
}

}  // namespace

at::Tensor row_norms(const at::Tensor& w, const at::Tensor& a, const at::Tensor& b, double scale) {
  const at::Tensor norms = at::empty({w.size(0)}, w.options().dtype(at::kFloat));
  const at::Tensor wide_a = a.to(at::kFloat), wide_b = b.to(at::kFloat);
  const int64_t tile = tile_rows(w.size(1));
  for (int64_t first = 0; first < w.size(0); first += tile) {
    const int64_t rows = std::min(tile, w.size(0) - first);
    const at::Tensor v = w.narrow(0, first, rows)
                             .to(at::kFloat, /*non_blocking=*/false,
                                 /*copy=*/true);
    ops::add_product(v, wide_b.narrow(0, first, rows), wide_a, scale);
    norms.narrow(0, first, rows).copy_(at::linalg_vector_norm(v, 2, 1));
  }
  return norms;
}

void fold_magnitudes(LayerParams& params, bool dropout, std::vector<at::Tensor>& norms) {
  size_t next = 0;
  for (Linear* linear : {&params.qkv, &params.o, &params.gate_up, &params.down}) {
    fold(*linear, dropout, norms, next);
  }
}

void magnitude_grads(const LinearAdapter& adapter, LinearAdapter& grads, const at::Tensor& dy,
                     const at::Tensor& x) {
  for (size_t i = 0; i < adapter.parts.size(); ++i) {
    const LinearAdapter::Part& part = adapter.parts[i];
    LinearAdapter::Part& to = grads.parts[i];
    const int64_t tile = tile_rows(part.rows);
    for (int64_t first = 0; first < x.size(0); first += tile) {
      const int64_t rows = std::min(tile, x.size(0) - first);
      const at::Tensor input = x.narrow(0, first, rows);
      const at::Tensor grad = dy.narrow(0, first, rows).narrow(1, part.first_row, part.rows);
      const at::Tensor t = ops::linear(input, a_of(adapter, part));
      at::Tensor v = ops::linear(input, rows_of(part, adapter.weight));  // x V^T
      ops::add_product(v, t, part.plain_b.t(), part.scale);
      to.magnitude.add_((grad * v).sum({0}, false, at::kFloat) / part.norm);
      ops::accumulate_weight_grad(to.b, scaled(grad, part.factor), t, part.scale);
    }
  }
}

}  // namespace trireme::model
