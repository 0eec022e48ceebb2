// A decoder layer with explicit forward and backward: norm, attention, residual, norm, MLP or
// experts, residual.
//
//   n1 = rmsnorm(x)      q,k,v = split(n1 Wqkv^T + b)      q,k = rope(norm(q)), rope(norm(k))
//   o  = attention(q,k,v)            h = x + o Wo^T
//   n2 = rmsnorm(h)                  y = h + mlp(n2)
//
// Backward needs at least x [S,C] and for experts the routing (a recomputed top-k could flip). Keep
// says which further intermediates stay; the others are recomputed by the same kernels on the same
// tiles, so that both ways give the same bits. Normed inputs are always recomputed.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "attention/attention.h"
#include "config/model_spec.h"
#include "model/mlp.h"
#include "model/params.h"
#include "ops/heads.h"
#include "plan/execution.h"

namespace trireme::model {

// What all layers of one batch share.
struct LayerContext {
  attention::Attention* attention = nullptr;
  at::Tensor cos, sin;  // [S, D/2] fp32, of each token's position
  Pass pass;
};

struct SavedLayer {
  at::Tensor x;                          // [S,C]
  attention::AttentionOutput attention;  // undefined when recomputed, as the following
  at::Tensor qkv;
  ops::RotatedHeads heads;
  at::Tensor mid;
  SavedMlp mlp;
};

class DecoderLayer {
 public:
  DecoderLayer(const config::ModelSpec& spec, int64_t index) : spec_(&spec), index_(index) {}

  // x [S,C] -> y [S,C]. saved == nullptr: nothing is kept (evaluation, generation). If `saved` has
  // the routing of an earlier pass, the same experts are chosen again.
  at::Tensor forward(const at::Tensor& x, const LayerParams& weights, const LayerContext& context,
                     plan::Keep keep, SavedLayer* saved) const;

  // dy [S,C] -> dx [S,C]; weight gradients are added to `grads` (fp32) where it is defined.
  // Consumes `saved`, and dy's storage.
  at::Tensor backward(at::Tensor dy, const LayerParams& weights, LayerParams& grads,
                      const LayerContext& context, SavedLayer saved) const;

 private:
  LayerContext own(const LayerContext& shared) const;
  at::Tensor project(const at::Tensor& x, const LayerParams& weights,
                     const LayerContext& context) const;
  void project_backward(at::Tensor& dx, const at::Tensor& dqkv, const at::Tensor& x,
                        const LayerParams& weights, LayerParams& grads,
                        const LayerContext& context) const;

  const config::ModelSpec* spec_;
  int64_t index_;
};

}  // namespace trireme::model
