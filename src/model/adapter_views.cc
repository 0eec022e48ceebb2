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
  AdapterViews(const layout::BlockLayout& block, const at::Tensor& flat)
      : block_(block), flat_(flat) {}

  // The adapter of the linears `prefix + leaf`, whose fused matrix has `rows` outputs each.
  // experts > 0: `prefix` is that of expert 0, and views have a first dimension E.
  LinearAdapter linear(const std::string& prefix, const std::vector<std::string>& parts,
                       const std::vector<int64_t>& rows, int64_t experts = 0) const {
    LinearAdapter adapter;
    const layout::ParamInfo* first = nullptr;
    int64_t row = 0, rank = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      if (const layout::ParamInfo* a = find(prefix + parts[i] + ".lora_A.weight")) {
        if (first == nullptr) first = a;
        const layout::ParamInfo& b = *find(prefix + parts[i] + ".lora_B.weight");
        adapter.parts.push_back({row, rows[i], rank, view(b, b.shape[0], experts)});
        rank += a->shape[0];
      }
      row += rows[i];
    }
    if (first != nullptr) adapter.a = view(*first, rank, experts);
    return adapter;
  }

 private:
  const layout::ParamInfo* find(const std::string& name) const {
    const auto found = std::ranges::find(block_.params, name, &layout::ParamInfo::name);
    return found == block_.params.end() ? nullptr : &*found;
  }

  // A view of `rows` rows as wide as the tensor, from its beginning on; with experts, such rows of
  // each.
  at::Tensor view(const layout::ParamInfo& first, int64_t rows, int64_t experts) const {
    const int64_t width = first.shape[1];
    const int64_t count = std::max<int64_t>(experts, 1) * rows * width;
    const at::Tensor piece = flat_.narrow(0, first.offset, count);
    return experts > 0 ? piece.view({experts, rows, width}) : piece.view({rows, width});
  }

  const layout::BlockLayout& block_;
  const at::Tensor& flat_;
};

}  // namespace

LayerAdapters layer_adapters(const config::ModelSpec& spec, const layout::Adapters& adapters,
                             int64_t layer, const at::Tensor& flat) {
  const AdapterViews view(adapters.layout.blocks[layout::ModelLayout::layer(layer)], flat);
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
  LayerAdapters result;
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
  params.qkv.adapter = adapters.qkv;
  params.o.adapter = adapters.o;
  params.gate_up.adapter = adapters.gate_up;
  params.down.adapter = adapters.down;
  params.expert_gate_up.adapter = adapters.expert_gate_up;
  params.expert_down.adapter = adapters.expert_down;
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
