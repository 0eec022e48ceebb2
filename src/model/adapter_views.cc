#include "model/adapter_views.h"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "base/rng.h"

namespace trireme::model {
namespace {

// Views of one flat block.
class AdapterViews {
 public:
  AdapterViews(const layout::Adapters& adapters, int64_t block, const at::Tensor& flat)
      : adapters_(adapters), block_(adapters.layout.blocks[block]), flat_(flat) {}

  // The adapter of the linears `prefix + part`, whose fused matrix has `rows` outputs each.
  // experts > 0: `prefix` is that of expert 0, and views have a first dimension E.
  Linear linear(const std::string& prefix, const std::vector<std::string>& parts,
                const std::vector<int64_t>& rows, int64_t experts = 0) const {
    Linear linear;
    const layout::ParamInfo* first = nullptr;
    int64_t row = 0, rank = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      const std::string module = prefix + parts[i];
      add_bias(module + ".bias", {.first_row = row}, linear);
      if (const layout::ParamInfo* a = find(module + ".lora_A.weight")) {
        if (first == nullptr) first = a;
        const layout::ParamInfo& b = *find(module + ".lora_B.weight");
        const double scale = adapters_.scale(module);
        linear.adapter.parts.push_back({row, rows[i], rank, view(b, b.shape[0], experts), scale,
                                        whole(module + ".lora_magnitude_vector")});
        add_bias(module + ".lora_B.bias", {.first_row = row, .scale = scale, .of_base = false},
                 linear);
        rank += a->shape[0];
      }
      row += rows[i];
    }
    if (first != nullptr) linear.adapter.a = view(*first, rank, experts);
    return linear;
  }

  // A tensor that is trained whole; undefined where it is not.
  at::Tensor whole(const std::string& name) const {
    const layout::ParamInfo* info = find(name);
    return info == nullptr ? at::Tensor() : param_view(flat_, *info);
  }

 private:
  const layout::ParamInfo* find(const std::string& name) const {
    const auto found = std::ranges::find(block_.params, name, &layout::ParamInfo::name);
    return found == block_.params.end() ? nullptr : &*found;
  }

  void add_bias(const std::string& name, TrainedBias bias, Linear& linear) const {
    bias.bias = whole(name);
    if (bias.bias.defined()) linear.trained_biases.push_back(std::move(bias));
  }

  // A view of `rows` rows as wide as the tensor, from its beginning on; with experts, such rows of
  // each.
  at::Tensor view(const layout::ParamInfo& first, int64_t rows, int64_t experts) const {
    const int64_t width = first.shape[1];
    const int64_t count = std::max<int64_t>(experts, 1) * rows * width;
    const at::Tensor piece = flat_.narrow(0, first.offset, count);
    return experts > 0 ? piece.view({experts, rows, width}) : piece.view({rows, width});
  }

  const layout::Adapters& adapters_;
  const layout::BlockLayout& block_;
  const at::Tensor& flat_;
};

void attach(Linear& linear, const Linear& adapters) {
  linear.adapter = adapters.adapter;
  linear.trained_biases = adapters.trained_biases;
}

void replace(at::Tensor& tensor, const at::Tensor& trained) {
  if (trained.defined()) tensor = trained;
}

}  // namespace

LayerAdapters layer_adapters(const config::ModelSpec& spec, const layout::Adapters& adapters,
                             int64_t layer, const at::Tensor& flat) {
  const AdapterViews view(adapters, layout::ModelLayout::layer(layer), flat);
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
  LayerAdapters result;
  result.input_norm = view.whole(prefix + "input_layernorm.weight");
  result.q_norm = view.whole(attention + "q_norm.weight");
  result.k_norm = view.whole(attention + "k_norm.weight");
  result.post_norm = view.whole(prefix + "post_attention_layernorm.weight");
  result.router = view.whole(mlp + "gate.weight");
  result.qkv = view.linear(attention, {"q_proj", "k_proj", "v_proj"},
                           {spec.q_dim(), spec.kv_dim(), spec.kv_dim()});
  result.o = view.linear(attention, {"o_proj"}, {spec.hidden});
  if (!spec.sparse(layer)) {
    result.gate_up =
        view.linear(mlp, {"gate_proj", "up_proj"}, {spec.intermediate, spec.intermediate});
    result.down = view.linear(mlp, {"down_proj"}, {spec.hidden});
    return result;
  }
  const int64_t experts = spec.moe->experts, width = spec.moe->intermediate;
  const std::string expert = mlp + "experts.0.";
  result.expert_gate_up = view.linear(expert, {"gate_proj", "up_proj"}, {width, width}, experts);
  result.expert_down = view.linear(expert, {"down_proj"}, {spec.hidden}, experts);
  return result;
}

void attach(LayerParams& params, const LayerAdapters& adapters) {
  attach(params.qkv, adapters.qkv);
  attach(params.o, adapters.o);
  attach(params.gate_up, adapters.gate_up);
  attach(params.down, adapters.down);
  attach(params.expert_gate_up, adapters.expert_gate_up);
  attach(params.expert_down, adapters.expert_down);
  replace(params.input_norm, adapters.input_norm);
  replace(params.q_norm, adapters.q_norm);
  replace(params.k_norm, adapters.k_norm);
  replace(params.post_norm, adapters.post_norm);
  replace(params.router, adapters.router);
}

void add_biases(LayerParams& params) {
  for (Linear* linear : {&params.qkv, &params.o, &params.gate_up, &params.down}) {
    add_biases(*linear);
  }
}

at::Tensor trained_table(const layout::Adapters& adapters, const at::Tensor& flat) {
  return AdapterViews(adapters, layout::ModelLayout::embedding(), flat)
      .whole("model.embed_tokens.weight");
}

HeadParams trained_head(const layout::Adapters& adapters, const at::Tensor& flat) {
  const AdapterViews view(adapters, adapters.layout.head(), flat);
  return {view.whole("model.norm.weight"), view.whole("lm_head.weight"), false};
}

void initialise_adapters(const layout::Adapters& adapters, uint64_t seed,
                         std::vector<at::Tensor>& blocks) {
  Rng seeds(seed);
  for (size_t b = 0; b < blocks.size(); ++b) {
    const layout::BlockLayout& layout = adapters.layout.blocks[b];
    if (layout.numel == 0) continue;
    // Each matrix has a generator of its own: threads may take them in any order.
    std::vector<uint64_t> own(layout.params.size());
    for (uint64_t& one : own) one = seeds.next();
    at::Tensor host = at::zeros({layout.numel}, at::kFloat);
    float* data = host.mutable_data_ptr<float>();
    const auto count = static_cast<int64_t>(layout.params.size());
    at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const layout::ParamInfo& info = layout.params[i];
        if (!info.name.ends_with(".lora_A.weight")) continue;
        const double bound = 1 / std::sqrt(static_cast<double>(info.shape[1]));
        Rng rng(own[i]);
        for (float& x : std::span(data + info.offset, info.numel)) {
          x = static_cast<float>(bound * (2 * rng.uniform() - 1));
        }
      }
    });
    blocks[b].copy_(host);
  }
}

}  // namespace trireme::model
