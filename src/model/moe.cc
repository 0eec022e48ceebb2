// Mixture of SwiGLU experts as transformers' Qwen3MoeSparseMoeBlock: softmax over all experts in
// fp32, top-k, optionally renormalised, weighted sum of the chosen experts. Pairs (token, expert)
// are sorted by expert, so that each expert's rows are one slice.
#include <ATen/ops/bincount.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>

#include "model/mlp.h"
#include "ops/grouped.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/swiglu.h"

namespace trireme::model {
namespace {

at::Tensor router_probabilities(const at::Tensor& normed, const at::Tensor& router) {
  // Logits in the activations' dtype, as the reference computes them: a finer dtype picks other
  // experts on ties.
  return at::softmax(ops::linear(normed, router), 1, at::kFloat);
}

Routing route(const config::MoeSpec& moe, const at::Tensor& probabilities, at::ScalarType dtype) {
  Routing routing;
  auto [weights, experts] = at::topk(probabilities, moe.experts_per_token, 1);
  if (moe.norm_topk_prob) weights = weights / weights.sum(1, true);
  routing.experts = experts;
  routing.weights = weights.to(dtype).to(at::kFloat);
  const at::Tensor flat = experts.flatten();
  routing.order = std::get<1>(flat.sort(/*stable=*/true, 0, /*descending=*/false));
  at::Tensor counts = at::zeros({moe.experts}, flat.options());
  counts.scatter_add_(0, flat, at::empty(flat.sizes(), flat.options()).fill_(1));
  routing.counts = ops::group_ends(counts);
  return routing;
}

// Token of each sorted pair.
at::Tensor tokens_of(const Routing& routing) {
  return routing.order.div(routing.experts.size(1), "floor");
}

at::Tensor sorted_weights(const Routing& routing) {
  return routing.weights.flatten().index_select(0, routing.order).unsqueeze(1);
}

// Rows back in (token, choice) order and summed over the choices: a fixed order of additions.
at::Tensor unpermute_sum(const at::Tensor& rows, const Routing& routing) {
  at::Tensor pairs = at::empty(rows.sizes(), rows.options());
  pairs.index_copy_(0, routing.order, rows);
  return pairs.view({-1, routing.experts.size(1), rows.size(1)}).sum(1);
}

// d loss / d router logits, from d loss / d applied weights [S,k].
at::Tensor router_backward(const config::MoeSpec& moe, const Routing& routing,
                           const at::Tensor& probabilities, const at::Tensor& dweights) {
  at::Tensor dprobabilities = at::zeros(probabilities.sizes(), probabilities.options());
  at::Tensor dchosen = dweights;
  const at::Tensor chosen = probabilities.gather(1, routing.experts);
  if (moe.norm_topk_prob) {
    const at::Tensor total = chosen.sum(1, true), w = chosen / total;
    dchosen = (dweights - (dweights * w).sum(1, true)) / total;
  }
  dprobabilities.scatter_(1, routing.experts, dchosen);
  return probabilities * (dprobabilities - (dprobabilities * probabilities).sum(1, true));
}

}  // namespace

at::Tensor moe_forward(const config::ModelSpec& spec, const at::Tensor& h, const LayerParams& w,
                       Tiles, bool keep, SavedMlp* saved) {
  const at::Tensor normed = ops::rms_norm(h, w.post_norm, spec.rms_norm_eps);
  Routing routing = route(*spec.moe, router_probabilities(normed, w.router), h.scalar_type());
  at::Tensor gate_up = ops::grouped_linear(normed.index_select(0, tokens_of(routing)),
                                           w.expert_gate_up, routing.counts);
  at::Tensor out = ops::grouped_linear(ops::swiglu(gate_up), w.expert_down, routing.counts);
  out.mul_(sorted_weights(routing).to(out.scalar_type()));
  at::Tensor y = h + unpermute_sum(out, routing);
  if (saved != nullptr) {
    saved->routing = std::move(routing);
    if (keep) saved->gate_up = std::move(gate_up);
  }
  return y;
}

at::Tensor moe_backward(const config::ModelSpec& spec, at::Tensor dy, const at::Tensor& h,
                        const LayerParams& w, LayerParams& g, Tiles, SavedMlp saved) {
  const Routing& routing = saved.routing;
  const at::Tensor normed = ops::rms_norm(h, w.post_norm, spec.rms_norm_eps);
  const at::Tensor token = tokens_of(routing), weight = sorted_weights(routing);
  const at::Tensor rows = normed.index_select(0, token);
  const at::Tensor gate_up = saved.gate_up.defined()
                                 ? saved.gate_up
                                 : ops::grouped_linear(rows, w.expert_gate_up, routing.counts);
  const at::Tensor dout = dy.index_select(0, token);
  // The gradient at the experts' activations before the routing weight: its product with the
  // activations is the weight's gradient, so that the experts' outputs need not be kept.
  at::Tensor dactivated = ops::grouped_linear_backward(dout, w.expert_down, routing.counts);
  at::Tensor activated;
  const at::Tensor scaled = (dactivated * weight).to(dactivated.scalar_type());
  const at::Tensor dgate_up = ops::swiglu_backward(scaled, gate_up, &activated);
  const at::Tensor dpair = (dactivated.to(at::kFloat) * activated).sum(1);
  ops::accumulate_grouped_weight_grad(g.expert_down, (dout * weight).to(dout.scalar_type()),
                                      activated, routing.counts);
  ops::accumulate_grouped_weight_grad(g.expert_gate_up, dgate_up, rows, routing.counts);
  at::Tensor dnormed = unpermute_sum(
      ops::grouped_linear_backward(dgate_up, w.expert_gate_up, routing.counts), routing);

  at::Tensor dweights = at::empty({dpair.size(0)}, dpair.options());
  dweights.index_copy_(0, routing.order, dpair);
  const at::Tensor dlogits =
      router_backward(*spec.moe, routing, router_probabilities(normed, w.router),
                      dweights.view(routing.experts.sizes()))
          .to(h.scalar_type());
  ops::accumulate_weight_grad(g.router, dlogits, normed);
  dnormed.addmm_(dlogits, w.router);
  ops::rms_norm_backward(dnormed, h, w.post_norm, spec.rms_norm_eps, dy, g.post_norm);
  return dy;
}

}  // namespace trireme::model
