#include "model/moe.h"

#include <ATen/ops/empty.h>

#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/swiglu.h"

namespace trireme::model {
namespace {

// Logits in the activations' dtype, as the reference computes them: a finer dtype picks other
// experts on ties.
at::Tensor router_logits(const at::Tensor& normed, const LayerParams& w) {
  return ops::linear(normed, w.router);
}

// The experts of a tile's tokens in the first pass, which the loss that balances them counts.
ops::Routing choose(const at::Tensor& normed, const LayerParams& w, const config::MoeSpec& moe,
                    const Pass& pass, int64_t first) {
  const at::Tensor logits = router_logits(normed, w);
  ops::Routing routing = ops::route(logits, moe.experts_per_token, moe.norm_topk_prob);
  if (pass.balance != nullptr) pass.balance->add(pass.layer, first, logits, routing);
  return routing;
}

// One tile, forward: y = h + experts(normed). Returns gate and up [rows k, 2F].
at::Tensor forward_tile(const at::Tensor& h, const at::Tensor& normed, const LayerParams& w,
                        const ops::Routing& routing, const Pass& pass, int64_t first,
                        at::Tensor y) {
  const at::Tensor gate_up =
      grouped_linear(w.expert_gate_up, ops::gather_rows(normed, routing.tokens), routing.ends,
                     pass.lora.of(Matrix::kGateUp, first));
  const at::Tensor out = grouped_linear(w.expert_down, ops::swiglu(gate_up), routing.ends,
                                        pass.lora.of(Matrix::kDown, first));
  ops::combine_rows(out, routing, routing.weights, h, y);
  return gate_up;
}

// The router's part of the gradient at the normed input.
void add_router_backward(at::Tensor& dnormed, const at::Tensor& normed, const at::Tensor& dweight,
                         const config::MoeSpec& moe, const ops::Routing& routing,
                         const ops::ProbabilityGrad& balance, const LayerParams& w,
                         LayerParams& g) {
  const at::Tensor dlogits =
      ops::router_backward(router_logits(normed, w), routing, dweight, moe.norm_topk_prob, balance);
  if (g.router.defined()) ops::accumulate_weight_grad(g.router, dlogits, normed);
  ops::add_product(dnormed, dlogits, w.router);
}

// One tile, backward: the gradient at the normed input from dy.
at::Tensor backward_tile(const config::MoeSpec& moe, const at::Tensor& dy, const at::Tensor& normed,
                         at::Tensor gate_up, const LayerParams& w, LayerParams& g,
                         const ops::Routing& routing, const Pass& pass, int64_t first) {
  const LoraPass lora_gate_up = pass.lora.of(Matrix::kGateUp, first);
  const LoraPass lora_down = pass.lora.of(Matrix::kDown, first);
  at::Tensor rows;
  if (g.expert_gate_up.trained() || !gate_up.defined()) {
    rows = ops::gather_rows(normed, routing.tokens);
  }
  if (!gate_up.defined()) {
    gate_up = grouped_linear(w.expert_gate_up, rows, routing.ends, lora_gate_up);
  }
  // dy is not multiplied by the routing weights here. The gradient at the activations times the
  // activations is then the routing weight's gradient, and the experts' outputs need not be kept.
  // The down projection's own gradients use the weighted activations instead.
  ops::RowWeights weights{ops::row_weights(routing), {}};
  weights.dweight = at::empty(weights.weight.sizes(), weights.weight.options());
  at::Tensor dout = ops::gather_rows(dy, routing.tokens), activated;
  InputGrad dactivated = grouped_input_grad(w.expert_down, dout, routing.ends, lora_down);
  const at::Tensor dgate_up = ops::swiglu_backward(
      dactivated.dx, gate_up, g.expert_down.trained() ? &activated : nullptr, &weights);
  dactivated.dx.reset();
  gate_up.reset();
  if (g.expert_down.trained()) {
    activated.mul_(weights.weight.unsqueeze(1));
    grouped_weight_grads(w.expert_down, g.expert_down, dout, activated, dactivated.narrow,
                         routing.ends, lora_down);
  }
  activated.reset();
  dout.reset();
  const at::Tensor drows = grouped_linear_backward(w.expert_gate_up, g.expert_gate_up, dgate_up,
                                                   rows, routing.ends, lora_gate_up);
  at::Tensor dnormed = at::empty(normed.sizes(), normed.options());
  ops::combine_rows(drows, routing, {}, {}, dnormed);
  ops::ProbabilityGrad balance;
  if (pass.balance != nullptr) balance = pass.balance->gradient(first, normed.size(0));
  add_router_backward(dnormed, normed, weights.dweight, moe, routing, balance, w, g);
  return dnormed;
}

}  // namespace

at::Tensor moe_forward(const config::ModelSpec& spec, const at::Tensor& h, const LayerParams& w,
                       const Pass& pass, bool keep, SavedMlp* saved) {
  at::Tensor y = at::empty(h.sizes(), h.options());
  // A recomputed forward pass takes the experts of the first pass.
  const bool routed = saved != nullptr && !saved->routing.empty();
  if (saved != nullptr) saved->expert_gate_up.clear();
  for_each_tile(h.size(0), pass.tiles.rows, [&](int64_t first, int64_t count) {
    const at::Tensor tile = h.narrow(0, first, count);
    const at::Tensor normed = ops::rms_norm(tile, w.post_norm, spec.rms_norm_eps);
    const ops::Routing routing = routed ? saved->routing[first / pass.tiles.rows]
                                        : choose(normed, w, *spec.moe, pass, first);
    at::Tensor gate_up =
        forward_tile(tile, normed, w, routing, pass, first, y.narrow(0, first, count));
    if (saved == nullptr) return;
    if (!routed) saved->routing.push_back(routing);
    saved->expert_gate_up.push_back(keep ? std::move(gate_up) : at::Tensor());
  });
  return y;
}

at::Tensor moe_backward(const config::ModelSpec& spec, at::Tensor dy, const at::Tensor& h,
                        const LayerParams& w, LayerParams& g, const Pass& pass, SavedMlp saved) {
  size_t index = 0;
  for_each_tile(h.size(0), pass.tiles.rows, [&](int64_t first, int64_t count) {
    const at::Tensor tile = h.narrow(0, first, count);
    at::Tensor grad = dy.narrow(0, first, count);
    const at::Tensor normed = ops::rms_norm(tile, w.post_norm, spec.rms_norm_eps);
    const at::Tensor dnormed =
        backward_tile(*spec.moe, grad, normed, std::move(saved.expert_gate_up[index]), w, g,
                      saved.routing[index], pass, first);
    ops::rms_norm_backward(dnormed, tile, w.post_norm, spec.rms_norm_eps, grad, g.post_norm);
    ++index;
  });
  return dy;
}

}  // namespace trireme::model
