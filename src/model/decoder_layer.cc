#include "model/decoder_layer.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"

namespace trireme::model {
namespace {

struct Heads {
  at::Tensor q, k, v;  // [S,H,D], [S,K,D], [S,K,D]
};

// Views of qkv [S,(H+2K)D].
Heads split_heads(const config::ModelSpec& spec, const at::Tensor& qkv) {
  const auto part = [&](int64_t first, int64_t heads) {
    return qkv.narrow(1, first * spec.head_dim, heads * spec.head_dim)
        .unflatten(1, {heads, spec.head_dim});
  };
  return {part(0, spec.heads), part(spec.heads, spec.kv_heads),
          part(spec.heads + spec.kv_heads, spec.kv_heads)};
}

// x [S,N,D] (token stride free) as rows [S N, D].
at::Tensor head_rows(const at::Tensor& x) { return x.reshape({-1, x.size(2)}); }

at::Tensor normed_heads(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return ops::rms_norm(head_rows(x), weight, eps).view(x.sizes());
}

// What attention sees, from the projection. Without q/k norm the rotation happens inside `qkv`.
Heads prepare_heads(const config::ModelSpec& spec, const at::Tensor& qkv, const LayerParams& w,
                    const LayerContext& context) {
  Heads heads = split_heads(spec, qkv);
  if (spec.qk_norm) {
    heads.q = normed_heads(heads.q, w.q_norm, spec.rms_norm_eps);
    heads.k = normed_heads(heads.k, w.k_norm, spec.rms_norm_eps);
  }
  ops::rope_(heads.q, context.cos, context.sin);
  ops::rope_(heads.k, context.cos, context.sin);
  return heads;
}

// The gradient of one normed and rotated group of heads, back to the projection's columns `to`
// [S,N,D].
void heads_backward(const config::ModelSpec& spec, at::Tensor grad, const at::Tensor& projected,
                    const at::Tensor& weight, at::Tensor& dweight, const LayerContext& context,
                    at::Tensor to) {
  if (!weight.defined()) {
    to.copy_(grad);
    ops::rope_(to, context.cos, context.sin, /*inverse=*/true);
    return;
  }
  grad = grad.contiguous();
  ops::rope_(grad, context.cos, context.sin, /*inverse=*/true);
  at::Tensor dx = at::empty(grad.sizes(), grad.options()).zero_();
  at::Tensor rows = head_rows(dx);
  ops::rms_norm_backward(head_rows(grad), head_rows(projected), weight, spec.rms_norm_eps, rows,
                         dweight);
  to.copy_(dx);
}

at::Tensor residual_projection(const at::Tensor& x, const at::Tensor& attended,
                               const LayerParams& w) {
  at::Tensor h = at::empty(x.sizes(), x.options());
  ops::linear_add(h, x, attended.flatten(1), w.o, w.o_bias);
  return h;
}

}  // namespace

at::Tensor DecoderLayer::forward(const at::Tensor& x, const LayerParams& w,
                                 const LayerContext& context, Keep keep, SavedLayer* saved) const {
  const config::ModelSpec& spec = *spec_;
  const at::Tensor qkv =
      ops::linear(ops::rms_norm(x, w.input_norm, spec.rms_norm_eps), w.qkv, w.qkv_bias);
  const Heads heads = prepare_heads(spec, qkv, w, context);
  const attention::AttentionOutput attended = context.attention->forward(heads.q, heads.k, heads.v);
  const at::Tensor h = residual_projection(x, attended.out, w);
  if (saved != nullptr) {
    saved->x = x;
    saved->attention = attended;
    if (keep.mid) saved->mid = h;
    if (keep.qkv) {
      saved->q = heads.q;
      saved->k = heads.k;
      saved->v = heads.v;
      if (spec.qk_norm) saved->qkv = qkv;
    }
  }
  const auto feed_forward = spec.sparse(index_) ? moe_forward : mlp_forward;
  return feed_forward(spec, h, w, context.tiles, keep.mlp, saved ? &saved->mlp : nullptr);
}

at::Tensor DecoderLayer::backward(at::Tensor dy, const LayerParams& w, LayerParams& g,
                                  const LayerContext& context, SavedLayer saved) const {
  const config::ModelSpec& spec = *spec_;
  at::Tensor h = saved.mid.defined() ? std::move(saved.mid)
                                     : residual_projection(saved.x, saved.attention.out, w);
  const auto feed_backward = spec.sparse(index_) ? moe_backward : mlp_backward;
  at::Tensor dh = feed_backward(spec, std::move(dy), h, w, g, context.tiles, std::move(saved.mlp));
  h.reset();

  const at::Tensor dattended = at::mm(dh, w.o).unflatten(1, {spec.heads, spec.head_dim});
  ops::accumulate_weight_grad(g.o, dh, saved.attention.out.flatten(1));
  if (g.o_bias.defined()) ops::accumulate_bias_grad(g.o_bias, dh);

  const at::Tensor normed = ops::rms_norm(saved.x, w.input_norm, spec.rms_norm_eps);
  Heads heads{saved.q, saved.k, saved.v};
  if (!heads.q.defined()) {
    saved.qkv = ops::linear(normed, w.qkv, w.qkv_bias);
    heads = prepare_heads(spec, saved.qkv, w, context);
  }
  const attention::AttentionGradients grads =
      context.attention->backward(dattended, heads.q, heads.k, heads.v, saved.attention);

  at::Tensor dqkv = at::empty({dh.size(0), w.qkv.size(0)}, dh.options());
  const Heads to = split_heads(spec, dqkv);
  const Heads projected = spec.qk_norm ? split_heads(spec, saved.qkv) : Heads{};
  heads_backward(spec, grads.dq, projected.q, w.q_norm, g.q_norm, context, to.q);
  heads_backward(spec, grads.dk, projected.k, w.k_norm, g.k_norm, context, to.k);
  at::Tensor(to.v).copy_(grads.dv);

  ops::accumulate_weight_grad(g.qkv, dqkv, normed);
  if (g.qkv_bias.defined()) ops::accumulate_bias_grad(g.qkv_bias, dqkv);
  ops::rms_norm_backward(at::mm(dqkv, w.qkv), saved.x, w.input_norm, spec.rms_norm_eps, dh,
                         g.input_norm);
  return dh;
}

LayerBytes layer_bytes(const config::ModelSpec& spec, int64_t layer, int64_t element) {
  LayerBytes bytes;
  const int64_t qkv = spec.q_dim() + 2 * spec.kv_dim();
  bytes.least = (spec.hidden + spec.q_dim()) * element + spec.heads * 4;
  bytes.qkv = (spec.qk_norm ? qkv + spec.q_dim() + spec.kv_dim() : qkv) * element;
  bytes.mid = spec.hidden * element;
  bytes.mlp = 2 * spec.intermediate * element;
  if (spec.sparse(layer)) {
    const int64_t pairs = spec.moe->experts_per_token;
    bytes.least += pairs * (8 + 4 + 8);  // experts, weights, order
    bytes.mlp = pairs * 2 * spec.moe->intermediate * element;
  }
  return bytes;
}

}  // namespace trireme::model
