#include "model/mlp.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>

#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/swiglu.h"

namespace trireme::model {
namespace {

// body(first row, rows) for each tile of S rows.
template <typename Body>
void for_each_tile(int64_t rows, int64_t tile, const Body& body) {
  for (int64_t first = 0; first < rows; first += tile) body(first, std::min(tile, rows - first));
}

}  // namespace

at::Tensor mlp_forward(const config::ModelSpec& spec, const at::Tensor& h, const LayerParams& w,
                       Tiles tiles, bool keep, SavedMlp* saved) {
  at::Tensor y = at::empty(h.sizes(), h.options());
  if (keep && saved != nullptr) {
    saved->gate_up = at::empty({h.size(0), w.gate_up.size(0)}, h.options());
  }
  for_each_tile(h.size(0), tiles.mlp, [&](int64_t first, int64_t rows) {
    const at::Tensor tile = h.narrow(0, first, rows);
    at::Tensor gate_up =
        ops::linear(ops::rms_norm(tile, w.post_norm, spec.rms_norm_eps), w.gate_up, w.gate_up_bias);
    ops::linear_add(y.narrow(0, first, rows), tile, ops::swiglu(gate_up), w.down, w.down_bias);
    if (saved == nullptr || !saved->gate_up.defined()) return;
    if (rows == h.size(0)) {
      saved->gate_up = std::move(gate_up);
    } else {
      saved->gate_up.narrow(0, first, rows).copy_(gate_up);
    }
  });
  return y;
}

at::Tensor mlp_backward(const config::ModelSpec& spec, at::Tensor dy, const at::Tensor& h,
                        const LayerParams& w, LayerParams& g, Tiles tiles, SavedMlp saved) {
  for_each_tile(h.size(0), tiles.mlp, [&](int64_t first, int64_t rows) {
    const at::Tensor tile = h.narrow(0, first, rows);
    at::Tensor grad = dy.narrow(0, first, rows);
    const at::Tensor normed = ops::rms_norm(tile, w.post_norm, spec.rms_norm_eps);
    const at::Tensor gate_up = saved.gate_up.defined()
                                   ? saved.gate_up.narrow(0, first, rows)
                                   : ops::linear(normed, w.gate_up, w.gate_up_bias);
    at::Tensor activated;
    const at::Tensor dgate_up = ops::swiglu_backward(at::mm(grad, w.down), gate_up, &activated);
    ops::accumulate_weight_grad(g.down, grad, activated);
    if (g.down_bias.defined()) ops::accumulate_bias_grad(g.down_bias, grad);
    ops::accumulate_weight_grad(g.gate_up, dgate_up, normed);
    if (g.gate_up_bias.defined()) ops::accumulate_bias_grad(g.gate_up_bias, dgate_up);
    // dy's storage becomes dh: the residual's gradient is there already.
    ops::rms_norm_backward(at::mm(dgate_up, w.gate_up), tile, w.post_norm, spec.rms_norm_eps, grad,
                           g.post_norm);
  });
  return dy;
}

}  // namespace trireme::model
