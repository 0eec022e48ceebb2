#include "model/mlp.h"

#include <ATen/ops/empty.h>

#include "ops/rms_norm.h"
#include "ops/swiglu.h"

namespace trireme::model {

at::Tensor mlp_forward(const config::ModelSpec& spec, const at::Tensor& h, const LayerParams& w,
                       const Pass& pass, bool keep, SavedMlp* saved) {
  at::Tensor y = at::empty(h.sizes(), h.options());
  at::Tensor kept;
  if (keep && saved != nullptr) {
    kept = at::empty({h.size(0), w.gate_up.weight.size(0)}, h.options());
    saved->gate_up = kept;
  }
  for_each_tile(h.size(0), pass.tiles.rows, [&](int64_t first, int64_t rows) {
    const at::Tensor tile = h.narrow(0, first, rows);
    const at::Tensor gate_up =
        linear(w.gate_up, ops::rms_norm(tile, w.post_norm, spec.rms_norm_eps),
               pass.lora.of(Matrix::kGateUp, first),
               kept.defined() ? kept.narrow(0, first, rows) : at::Tensor());
    linear_add(w.down, y.narrow(0, first, rows), tile, ops::swiglu(gate_up),
               pass.lora.of(Matrix::kDown, first));
  });
  return y;
}

at::Tensor mlp_backward(const config::ModelSpec& spec, at::Tensor dy, const at::Tensor& h,
                        const LayerParams& w, LayerParams& g, const Pass& pass, SavedMlp saved) {
  for_each_tile(h.size(0), pass.tiles.rows, [&](int64_t first, int64_t rows) {
    const LoraPass lora_gate_up = pass.lora.of(Matrix::kGateUp, first);
    const LoraPass lora_down = pass.lora.of(Matrix::kDown, first);
    const at::Tensor tile = h.narrow(0, first, rows);
    at::Tensor grad = dy.narrow(0, first, rows);
    at::Tensor normed;
    if (g.gate_up.trained() || !saved.gate_up.defined()) {
      normed = ops::rms_norm(tile, w.post_norm, spec.rms_norm_eps);
    }
    at::Tensor gate_up = saved.gate_up.defined() ? saved.gate_up.narrow(0, first, rows)
                                                 : linear(w.gate_up, normed, lora_gate_up);
    // swiglu_backward recomputes the activations where the down projection is trained.
    InputGrad dactivated = linear_input_grad(w.down, grad, lora_down);
    at::Tensor activated;
    const at::Tensor dgate_up =
        ops::swiglu_backward(dactivated.dx, gate_up, g.down.trained() ? &activated : nullptr);
    dactivated.dx.reset();
    gate_up.reset();
    linear_weight_grads(w.down, g.down, grad, activated, dactivated.narrow, lora_down);
    activated.reset();
    // dy's storage becomes dh: the residual's gradient is there already.
    ops::rms_norm_backward(linear_backward(w.gate_up, g.gate_up, dgate_up, normed, lora_gate_up),
                           tile, w.post_norm, spec.rms_norm_eps, grad, g.post_norm);
  });
  return dy;
}

}  // namespace trireme::model
