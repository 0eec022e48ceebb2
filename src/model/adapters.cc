#include "model/adapters.h"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "base/nearest.h"
#include "base/rng.h"
#include "model/families.h"

namespace trireme::model {
namespace {

constexpr std::string_view kWeight = ".weight";

// "model.layers.0.self_attn.q_proj.weight" -> "...q_proj".
std::string module_of(const std::string& tensor) {
  return tensor.substr(0, tensor.size() - kWeight.size());
}

std::string leaf_of(const std::string& module) { return module.substr(module.rfind('.') + 1); }

// The router's logits decide where tokens go: it is no linear in transformers 5, and has no adapter
// here.
bool is_linear(const NamedShape& tensor) { return tensor.name.ends_with("_proj.weight"); }

// The linears of a layer, those of one fused matrix together (the experts' are one).
std::vector<std::vector<NamedShape>> fused_linears(const config::ModelSpec& spec, int64_t layer) {
  std::vector<std::vector<NamedShape>> groups;
  for (NamedShape& tensor : layer_tensors(spec, layer)) {
    if (!is_linear(tensor)) continue;
    if (!tensor.joins_previous) groups.emplace_back();
    groups.back().push_back(std::move(tensor));
  }
  return groups;
}

// Targets, sorted for many of them: an adapter of some layers' experts names thousands of linears
// whole.
class Targets {
 public:
  explicit Targets(const std::vector<std::string>& targets) {
    for (const std::string& target : targets) {
      if (target.starts_with("model.layers.")) {
        whole_.insert(target);
      } else {
        ends_.push_back(target);
      }
    }
  }

  bool name(const std::string& module) const {
    return whole_.contains(module) ||
           std::ranges::any_of(ends_, [&](const auto& end) { return is_end(end, module); });
  }

  // Forgets those that name this linear.
  void remove(const std::string& module) {
    whole_.erase(module);
    std::erase_if(ends_, [&](const std::string& end) { return is_end(end, module); });
  }

  // One of them; "" when none is left.
  std::string any() const {
    if (!ends_.empty()) return ends_.front();
    return whole_.empty() ? "" : *whole_.begin();
  }

 private:
  static bool is_end(const std::string& end, const std::string& module) {
    return module.ends_with(end) && module.size() > end.size() &&
           module[module.size() - end.size() - 1] == '.';
  }

  std::set<std::string> whole_;
  std::vector<std::string> ends_;
};

// The last parts of the names, each once, in the order of the layers.
std::vector<std::string> leaves(const config::ModelSpec& spec) {
  std::vector<std::string> list;
  for (int64_t layer = 0; layer < spec.layers; ++layer) {
    for (const std::string& module : layer_linears(spec, layer)) {
      const std::string leaf = leaf_of(module);
      if (std::ranges::find(list, leaf) == list.end()) list.push_back(leaf);
    }
  }
  return list;
}

std::vector<std::string> resolve_targets(const config::ModelSpec& spec,
                                         const std::vector<std::string>& targets) {
  const std::vector<std::string> known = leaves(spec);
  if (std::ranges::find(targets, "all-linear") != targets.end()) return known;
  Targets unused(targets);
  for (int64_t layer = 0; layer < spec.layers; ++layer) {
    for (const std::string& module : layer_linears(spec, layer)) unused.remove(module);
  }
  const std::string bad = unused.any();
  if (bad.empty()) return targets;
  fail("target_modules: '{}' is no linear of this {} model{}: it has {}; all-linear takes them all",
       bad, config::family_name(spec.family), did_you_mean(bad, known), fmt::join(known, ", "));
}

// The adapters of one fused matrix: all A, then B part by part (the experts' gates, then their
// ups).
void add_adapters(const std::vector<NamedShape>& linears, const Targets& targets, int64_t rank,
                  std::vector<NamedShape>& list) {
  std::vector<const NamedShape*> chosen;
  std::vector<std::string> parts;
  for (const NamedShape& linear : linears) {
    const std::string module = module_of(linear.name);
    if (!targets.name(module)) continue;
    chosen.push_back(&linear);
    const std::string part = leaf_of(module);
    if (std::ranges::find(parts, part) == parts.end()) parts.push_back(part);
  }
  for (const NamedShape* linear : chosen) {
    list.push_back({module_of(linear->name) + ".lora_A.weight",
                    {rank, linear->shape[1]},
                    true,
                    linear != chosen.front()});
  }
  for (const std::string& part : parts) {
    const auto of_part = [&](const NamedShape& t) { return leaf_of(module_of(t.name)) == part; };
    const auto all = std::ranges::count_if(linears, of_part);
    int64_t count = 0;
    for (const NamedShape* linear : chosen) {
      if (!of_part(*linear)) continue;
      list.push_back({module_of(linear->name) + ".lora_B.weight",
                      {linear->shape[0], rank},
                      true,
                      count++ > 0});
    }
    if (count != all) {
      fail("target_modules: {} of the {} experts beside {} have an adapter of {}: all or none must",
           count, all, module_of(linears.front().name), part);
    }
  }
}

// Views of one flat block.
class Viewer {
 public:
  Viewer(const BlockLayout& block, const at::Tensor& flat) : block_(block), flat_(flat) {}

  // The adapter of the linears `prefix + leaf`, whose fused matrix has `rows` outputs each.
  // experts > 0: `prefix` is that of expert 0, and views have a first dimension E.
  LinearAdapter linear(const std::string& prefix, const std::vector<std::string>& parts,
                       const std::vector<int64_t>& rows, int64_t experts = 0) const {
    LinearAdapter adapter;
    const ParamInfo* first = nullptr;
    int64_t row = 0, rank = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      if (const ParamInfo* a = find(prefix + parts[i] + ".lora_A.weight")) {
        if (first == nullptr) first = a;
        const ParamInfo& b = *find(prefix + parts[i] + ".lora_B.weight");
        adapter.parts.push_back({row, rows[i], rank, view(b, b.shape[0], experts)});
        rank += a->shape[0];
      }
      row += rows[i];
    }
    if (first != nullptr) adapter.a = view(*first, rank, experts);
    return adapter;
  }

 private:
  const ParamInfo* find(const std::string& name) const {
    const auto found = std::ranges::find(block_.params, name, &ParamInfo::name);
    return found == block_.params.end() ? nullptr : &*found;
  }

  // `rows` rows as wide as the tensor's, from where it begins; of each expert.
  at::Tensor view(const ParamInfo& first, int64_t rows, int64_t experts) const {
    const int64_t width = first.shape[1];
    const int64_t count = std::max<int64_t>(experts, 1) * rows * width;
    const at::Tensor piece = flat_.narrow(0, first.offset, count);
    return experts > 0 ? piece.view({experts, rows, width}) : piece.view({rows, width});
  }

  const BlockLayout& block_;
  const at::Tensor& flat_;
};

}  // namespace

std::vector<std::string> layer_linears(const config::ModelSpec& spec, int64_t layer) {
  std::vector<std::string> modules;
  for (const NamedShape& tensor : layer_tensors(spec, layer)) {
    if (is_linear(tensor)) modules.push_back(module_of(tensor.name));
  }
  return modules;
}

Adapters make_adapters(const config::ModelSpec& spec, const config::LoraSpec& lora) {
  if (lora.rank < 1) fail("lora_r {}: the rank of adapters must be at least 1", lora.rank);
  Adapters adapters{lora, {}};
  adapters.lora.target_modules = resolve_targets(spec, lora.target_modules);
  const Targets targets(adapters.lora.target_modules);
  adapters.layout.blocks.emplace_back();  // the embedding has none
  for (int64_t layer = 0; layer < spec.layers; ++layer) {
    std::vector<NamedShape> list;
    for (const auto& group : fused_linears(spec, layer))
      add_adapters(group, targets, lora.rank, list);
    adapters.layout.blocks.push_back(place(std::move(list)));
  }
  adapters.layout.blocks.emplace_back();  // neither has the head
  return adapters;
}

LayerAdapters layer_adapters(const config::ModelSpec& spec, const Adapters& adapters, int64_t layer,
                             const at::Tensor& flat) {
  const Viewer view(adapters.layout.blocks[layer + 1], flat);
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

void initialise_adapters(const Adapters& adapters, uint64_t seed, std::vector<at::Tensor>& blocks) {
  Rng seeds(seed);
  for (size_t b = 0; b < blocks.size(); ++b) {
    const BlockLayout& layout = adapters.layout.blocks[b];
    if (layout.numel == 0) continue;
    // Each matrix has a generator of its own: threads may take them in any order.
    std::vector<uint64_t> own(layout.params.size());
    for (uint64_t& one : own) one = seeds.next();
    at::Tensor host = at::zeros({layout.numel}, at::kFloat);
    float* data = host.mutable_data_ptr<float>();
    const auto count = static_cast<int64_t>(layout.params.size());
    at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const ParamInfo& info = layout.params[i];
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
