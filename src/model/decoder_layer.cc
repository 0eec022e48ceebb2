#include "model/decoder_layer.h"

#include <ATen/ops/empty.h>

#include "model/moe.h"
#include "ops/heads.h"
#include "ops/rms_norm.h"

namespace trireme::model {
namespace {

ops::HeadNorms norms(const config::ModelSpec& spec, const LayerParams& w) {
  return {w.q_norm, w.k_norm, spec.rms_norm_eps};
}

ops::RotatedHeads rotate(const config::ModelSpec& spec, const at::Tensor& qkv, const LayerParams& w,
                         const LayerContext& context) {
  return ops::rotate_heads(qkv, spec.heads, spec.kv_heads, norms(spec, w), context.cos,
                           context.sin);
}

// The values' columns of the projection: [S,K,D], a view.
at::Tensor values(const config::ModelSpec& spec, const at::Tensor& qkv) {
  return qkv.narrow(1, spec.q_dim() + spec.kv_dim(), spec.kv_dim())
      .unflatten(1, {spec.kv_heads, spec.head_dim});
}

at::Tensor residual_projection(const at::Tensor& x, const at::Tensor& attended, const Linear& o,
                               const LoraPass& lora) {
  at::Tensor h = at::empty(x.sizes(), x.options());
  linear_add(o, h, x, attended.flatten(1), lora);
  return h;
}

}  // namespace

LayerContext DecoderLayer::own(const LayerContext& shared) const {
  LayerContext context = shared;
  context.pass.lora = shared.pass.lora.of_layer(index_);
  context.pass.layer = index_;
  return context;
}

// The normed input's projection, tile by tile: no second [S,C] exists.
at::Tensor DecoderLayer::project(const at::Tensor& x, const LayerParams& w,
                                 const LayerContext& context) const {
  at::Tensor qkv = at::empty({x.size(0), w.qkv.weight.size(0)}, x.options());
  for_each_tile(x.size(0), context.pass.tiles.rows, [&](int64_t first, int64_t rows) {
    const at::Tensor normed =
        ops::rms_norm(x.narrow(0, first, rows), w.input_norm, spec_->rms_norm_eps);
    linear(w.qkv, normed, context.pass.lora.of(Matrix::kQkv, first), qkv.narrow(0, first, rows));
  });
  return qkv;
}

// dx += the gradient through the norm and the projection.
void DecoderLayer::project_backward(at::Tensor& dx, const at::Tensor& dqkv, const at::Tensor& x,
                                    const LayerParams& w, LayerParams& g,
                                    const LayerContext& context) const {
  for_each_tile(x.size(0), context.pass.tiles.rows, [&](int64_t first, int64_t rows) {
    const at::Tensor tile = x.narrow(0, first, rows);
    at::Tensor normed;
    if (g.qkv.trained()) normed = ops::rms_norm(tile, w.input_norm, spec_->rms_norm_eps);
    const at::Tensor dnormed = linear_backward(w.qkv, g.qkv, dqkv.narrow(0, first, rows), normed,
                                               context.pass.lora.of(Matrix::kQkv, first));
    at::Tensor to = dx.narrow(0, first, rows);
    ops::rms_norm_backward(dnormed, tile, w.input_norm, spec_->rms_norm_eps, to, g.input_norm);
  });
}

at::Tensor DecoderLayer::forward(const at::Tensor& x, const LayerParams& w,
                                 const LayerContext& shared, plan::Keep keep,
                                 SavedLayer* saved) const {
  const LayerContext context = own(shared);
  at::Tensor qkv = project(x, w, context);
  ops::RotatedHeads heads = rotate(*spec_, qkv, w, context);
  attention::AttentionOutput attended =
      context.attention->forward(heads.q, heads.k, values(*spec_, qkv));
  if (saved != nullptr) {
    if (keep.qkv) saved->qkv = qkv;
    if (keep.heads) saved->heads = heads;
  }
  qkv.reset();
  heads = {};
  const at::Tensor h = residual_projection(x, attended.out, w.o, context.pass.lora.of(Matrix::kO));
  if (saved != nullptr) {
    saved->x = x;
    if (keep.attention) saved->attention = attended;
    if (keep.mid) saved->mid = h;
  }
  attended = {};
  const auto feed_forward = spec_->sparse(index_) ? moe_forward : mlp_forward;
  return feed_forward(*spec_, h, w, context.pass, keep.mlp, saved ? &saved->mlp : nullptr);
}

at::Tensor DecoderLayer::backward(at::Tensor dy, const LayerParams& w, LayerParams& g,
                                  const LayerContext& shared, SavedLayer saved) const {
  const LayerContext context = own(shared);
  const LoraPass lora_o = context.pass.lora.of(Matrix::kO);
  // Attention first, where it is recomputed: h needs its output.
  if (!saved.attention.out.defined()) {
    if (!saved.qkv.defined()) saved.qkv = project(saved.x, w, context);
    const ops::RotatedHeads heads =
        saved.heads.q.defined() ? saved.heads : rotate(*spec_, saved.qkv, w, context);
    saved.attention = context.attention->forward(heads.q, heads.k, values(*spec_, saved.qkv));
  }
  at::Tensor h = saved.mid.defined()
                     ? std::move(saved.mid)
                     : residual_projection(saved.x, saved.attention.out, w.o, lora_o);
  const auto feed_backward = spec_->sparse(index_) ? moe_backward : mlp_backward;
  at::Tensor dh = feed_backward(*spec_, std::move(dy), h, w, g, context.pass, std::move(saved.mlp));
  h.reset();

  at::Tensor dattended = linear_backward(w.o, g.o, dh, saved.attention.out.flatten(1), lora_o);
  if (!saved.qkv.defined()) saved.qkv = project(saved.x, w, context);
  if (!saved.heads.q.defined()) saved.heads = rotate(*spec_, saved.qkv, w, context);
  const attention::AttentionGradients grads = context.attention->backward(
      dattended.unflatten(1, {spec_->heads, spec_->head_dim}), saved.heads.q, saved.heads.k,
      values(*spec_, saved.qkv), saved.attention);
  saved.heads = {};
  saved.attention = {};
  dattended.reset();

  at::Tensor dqkv = at::empty(saved.qkv.sizes(), dh.options());
  ops::rotate_heads_backward(grads.dq, grads.dk, grads.dv, saved.qkv, norms(*spec_, w), context.cos,
                             context.sin, dqkv, g.q_norm, g.k_norm);
  saved.qkv.reset();
  project_backward(dh, dqkv, saved.x, w, g, context);
  return dh;
}

}  // namespace trireme::model
