#include "model/params.h"

#include <algorithm>

#include "base/error.h"

namespace trireme::model {
namespace {

// Finds a block's tensors by the end of their name and views them, or several neighbours as one
// matrix.
class TensorViews {
 public:
  TensorViews(const layout::BlockLayout& block, const at::Tensor& flat)
      : block_(block), flat_(flat) {}

  at::Tensor one(const std::string& suffix) const { return joined(suffix, 1); }

  // `count` tensors that start at the one named, stacked along their first dimension. Undefined
  // where absent.
  at::Tensor joined(const std::string& first_suffix, int64_t count) const {
    const auto first =
        std::find_if(block_.params.begin(), block_.params.end(),
                     [&](const layout::ParamInfo& p) { return p.name.ends_with(first_suffix); });
    if (first == block_.params.end()) return {};
    int64_t numel = 0, rows = 0;
    for (auto p = first; p != first + count; ++p) {
      TRIREME_CHECK(p->offset == first->offset + numel, "{} is not next to {}", p->name,
                    first->name);
      numel += p->numel;
      rows += p->shape[0];
    }
    const at::Tensor piece = flat_.narrow(0, first->offset, numel);
    return first->shape.size() == 1 ? piece : piece.view({rows, first->shape[1]});
  }

 private:
  const layout::BlockLayout& block_;
  const at::Tensor& flat_;
};

}  // namespace

at::Tensor param_view(const at::Tensor& flat, const layout::ParamInfo& info) {
  return flat.narrow(0, info.offset, info.numel).view(info.shape);
}

void zero_gaps(const layout::BlockLayout& block, int64_t end, const at::Tensor& flat) {
  int64_t last = 0;
  for (const layout::ParamInfo& info : block.params) {
    if (info.offset >= end) break;
    if (info.offset > last) flat.narrow(0, last, info.offset - last).zero_();
    last = info.offset + info.numel;
  }
  flat.narrow(0, last, flat.numel() - last).zero_();
}

void mark_overwrite(LayerParams& grads) {
  for (Linear* linear : {&grads.qkv, &grads.o, &grads.gate_up, &grads.down})
    linear->overwrite = true;
}

LayerParams layer_params(const config::ModelSpec& spec, const layout::ModelLayout& layout,
                         int64_t layer, const at::Tensor& flat) {
  const TensorViews view(layout.blocks[layout::ModelLayout::layer(layer)], flat);
  LayerParams p;
  p.input_norm = view.one("input_layernorm.weight");
  p.qkv.weight = view.joined("q_proj.weight", 3);
  p.qkv.bias = view.joined("q_proj.bias", 3);
  p.q_norm = view.one("q_norm.weight");
  p.k_norm = view.one("k_norm.weight");
  p.o.weight = view.one("o_proj.weight");
  p.o.bias = view.one("o_proj.bias");
  p.post_norm = view.one("post_attention_layernorm.weight");
  if (!spec.sparse(layer)) {
    p.gate_up.weight = view.joined("mlp.gate_proj.weight", 2);
    p.gate_up.bias = view.joined("mlp.gate_proj.bias", 2);
    p.down.weight = view.one("mlp.down_proj.weight");
    p.down.bias = view.one("mlp.down_proj.bias");
    return p;
  }
  const int64_t experts = spec.moe->experts, width = spec.moe->intermediate;
  p.router = view.one("mlp.gate.weight");
  p.expert_gate_up.weight = view.joined("experts.0.gate_proj.weight", 2 * experts)
                                .view({experts, 2 * width, spec.hidden});
  p.expert_down.weight =
      view.joined("experts.0.down_proj.weight", experts).view({experts, spec.hidden, width});
  return p;
}

HeadParams head_params(const config::ModelSpec& spec, const layout::ModelLayout& layout,
                       const at::Tensor& embed_flat, const at::Tensor& head_flat) {
  const TensorViews head(layout.blocks.back(), head_flat);
  if (!spec.tied) return {head.one("norm.weight"), head.one("lm_head.weight"), false};
  return {head.one("norm.weight"),
          TensorViews(layout.blocks.front(), embed_flat).one("embed_tokens.weight"), false};
}

}  // namespace trireme::model
