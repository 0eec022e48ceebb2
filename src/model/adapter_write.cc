// Writing adapters: as PEFT stores them, and added to the model's weights.
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>

#include "base/error.h"
#include "model/adapter_io.h"
#include "model/adapter_views.h"
#include "model/model_io.h"
#include "model/params.h"

namespace trireme::model {

using config::ExpertAdapters;

namespace {

const std::string kPrefix = "base_model.model.";

// The last parts of the adapted linears, of experts or of the rest.
std::set<std::string> adapted_leaves(const layout::Adapters& adapters, bool experts) {
  static constexpr std::string_view kA = ".lora_A.weight";
  std::set<std::string> leaves;
  for (const layout::BlockLayout& block : adapters.layout.blocks) {
    for (const layout::ParamInfo& info : block.params) {
      const bool expert = info.name.find(".mlp.experts.") != std::string::npos;
      if (expert != experts || !info.name.ends_with(kA)) continue;
      const std::string module = info.name.substr(0, info.name.size() - kA.size());
      leaves.insert(module.substr(module.rfind('.') + 1));
    }
  }
  return leaves;
}

bool has(const layout::BlockLayout& block, const std::string& name) {
  return std::ranges::find(block.params, name, &layout::ParamInfo::name) != block.params.end();
}

// Which 3-D parameters of a layer's experts are adapted.
struct AdaptedParameters {
  bool gate_up = false, down = false;
};

AdaptedParameters adapted_parameters(const layout::Adapters& adapters, int64_t layer) {
  const layout::BlockLayout& block = adapters.layout.blocks[layout::ModelLayout::layer(layer)];
  const std::string expert = fmt::format("model.layers.{}.mlp.experts.0.", layer);
  return {has(block, expert + "gate_proj.lora_A.weight") ||
              has(block, expert + "up_proj.lora_A.weight"),
          has(block, expert + "down_proj.lora_A.weight")};
}

// "mlp.experts.gate_up_proj" where every layer with experts has it, else each layer's own name.
std::vector<std::string> target_parameters(const config::ModelSpec& spec,
                                           const layout::Adapters& adapters) {
  std::vector<std::string> list;
  for (const auto& [name, member] : {std::pair("gate_up_proj", &AdaptedParameters::gate_up),
                                     std::pair("down_proj", &AdaptedParameters::down)}) {
    std::vector<std::string> full;
    int64_t sparse = 0;
    for (int64_t layer = 0; layer < spec.layers; ++layer) {
      if (!spec.sparse(layer)) continue;
      ++sparse;
      if (adapted_parameters(adapters, layer).*member) {
        full.push_back(fmt::format("model.layers.{}.mlp.experts.{}", layer, name));
      }
    }
    if (static_cast<int64_t>(full.size()) == sparse) full = {std::string("mlp.experts.") + name};
    list.insert(list.end(), full.begin(), full.end());
  }
  return list;
}

// The targets that name a linear outside the experts.
std::vector<std::string> targets_beside_experts(const layout::Adapters& adapters) {
  std::vector<std::string> list;
  const std::set<std::string> leaves = adapted_leaves(adapters, false);
  for (const std::string& target : adapters.lora.target_modules) {
    const bool expert = target.find("experts.") != std::string::npos;
    if (!expert && leaves.contains(target.substr(target.rfind('.') + 1))) list.push_back(target);
  }
  return list;
}

using Staging = std::shared_ptr<at::Tensor>;  // holds one tensor at a time

io::TensorSource source(const std::string& name, std::vector<int64_t> shape, const Staging& staging,
                        std::function<at::Tensor()> make) {
  return {name, io::DType::kF32, std::move(shape), [staging, make = std::move(make)] {
            *staging = make().to(at::kCPU, at::kFloat).contiguous();
            return std::span(static_cast<const std::byte*>(staging->const_data_ptr()),
                             staging->nbytes());
          }};
}

// B of a 3-D parameter: parts [E, rows, r] block-diagonal in [E, out, R], then [out, R E] with the
// expert last.
at::Tensor joined_b(const LinearAdapter& adapter, const std::vector<int64_t>& first_ranks,
                    int64_t out, int64_t rank) {
  const at::Tensor& some = adapter.parts.front().b;
  at::Tensor whole = at::zeros({some.size(0), out, rank}, some.options());
  for (size_t i = 0; i < adapter.parts.size(); ++i) {
    const LinearAdapter::Part& part = adapter.parts[i];
    whole.narrow(1, part.first_row, part.rows)
        .narrow(2, first_ranks[i], part.b.size(2))
        .copy_(part.b);
  }
  return whole.permute({1, 2, 0}).reshape({out, rank * some.size(0)});
}

// A of a 3-D parameter, [E R, in]; rows of ranks that no part has are zero.
at::Tensor joined_a(const LinearAdapter& adapter, const std::vector<int64_t>& first_ranks,
                    int64_t rank) {
  const at::Tensor& a = adapter.a;
  if (a.size(1) == rank) return a.reshape({-1, a.size(2)});
  at::Tensor whole = at::zeros({a.size(0), rank, a.size(2)}, a.options());
  const int64_t r = adapter.parts.front().b.size(2);
  for (size_t i = 0; i < adapter.parts.size(); ++i) {
    whole.narrow(1, first_ranks[i], r).copy_(a.narrow(1, adapter.parts[i].first_rank, r));
  }
  return whole.reshape({-1, a.size(2)});
}

// One 3-D parameter with `slots` places of r ranks, the i-th for the rows from i out / slots.
void add_parameter(const std::string& stem, const LinearAdapter& adapter, int64_t out,
                   int64_t slots, const Staging& staging, std::vector<io::TensorSource>& list) {
  const int64_t r = adapter.parts.front().b.size(2), rank = slots * r;
  const int64_t experts = adapter.a.size(0), in = adapter.a.size(2);
  std::vector<int64_t> firsts;
  for (const LinearAdapter::Part& part : adapter.parts) {
    firsts.push_back(part.first_row / (out / slots) * r);
  }
  list.push_back(source(stem + ".lora_A.weight", {experts * rank, in}, staging,
                        [=] { return joined_a(adapter, firsts, rank); }));
  list.push_back(source(stem + ".lora_B.weight", {out, rank * experts}, staging,
                        [=] { return joined_b(adapter, firsts, out, rank); }));
}

void add_expert_parameters(const config::ModelSpec& spec, const LayerAdapters& views, int64_t layer,
                           const Staging& staging, std::vector<io::TensorSource>& list) {
  const std::string experts = fmt::format("{}model.layers.{}.mlp.experts", kPrefix, layer);
  const bool both = views.expert_gate_up.present() && views.expert_down.present();
  if (views.expert_gate_up.present()) {
    add_parameter(both ? experts + ".base_layer" : experts, views.expert_gate_up,
                  2 * spec.moe->intermediate, 2, staging, list);
  }
  if (views.expert_down.present()) {
    add_parameter(experts, views.expert_down, spec.hidden, 1, staging, list);
  }
}

// W + scale B A in fp32, in the dtype of W.
at::Tensor merged(const at::Tensor& weight, const at::Tensor& a, const at::Tensor& b,
                  double scale) {
  return weight.to(at::kFloat).add(at::mm(b, a), scale).to(weight.scalar_type());
}

}  // namespace

ExpertAdapters resolve_expert_adapters(ExpertAdapters option, const config::ModelSpec& spec,
                                       const layout::Adapters& adapters) {
  if (option != ExpertAdapters::kAuto) return option;
  if (!spec.moe) return ExpertAdapters::kModules;
  const std::set<std::string> leaves = adapted_leaves(adapters, true);
  const bool gate_up = leaves.contains("gate_proj") || leaves.contains("up_proj");
  const bool safe = !gate_up || (leaves.size() == 3 && !adapters.lora.rslora);
  return safe ? ExpertAdapters::kModules : ExpertAdapters::kParameters;
}

std::string peft_caveat(const config::ModelSpec& spec, const layout::Adapters& adapters,
                        ExpertAdapters kind) {
  if (kind == ExpertAdapters::kModules &&
      resolve_expert_adapters(ExpertAdapters::kAuto, spec, adapters) ==
          ExpertAdapters::kParameters) {
    return "--expert_adapters modules: PEFT with transformers 5 leaves adapters of these experts "
           "out, or scales them wrongly: use parameters for it";
  }
  const std::set<std::string> leaves = adapted_leaves(adapters, false);
  const bool dense_mlp =
      leaves.contains("gate_proj") || leaves.contains("up_proj") || leaves.contains("down_proj");
  if (!spec.moe || !dense_mlp) return "";
  return "adapters of the dense MLP layers of a model that has experts too are lost when PEFT "
         "reads them with transformers 5: use trireme export --merge";
}

config::PeftConfig peft_config(const config::ModelSpec& spec, const layout::Adapters& adapters,
                               ExpertAdapters kind, const std::string& base_model) {
  config::PeftConfig config;
  config.lora = adapters.lora;
  config.base_model = base_model;
  const std::set<std::string> experts = adapted_leaves(adapters, true);
  // PEFT under transformers 5 refuses to load experts' adapters with a dropout, though nothing is
  // dropped in inference.
  if (!experts.empty()) config.lora.dropout = 0;
  if (kind == ExpertAdapters::kModules || experts.empty()) return config;
  config.lora.target_modules = targets_beside_experts(adapters);
  config.target_parameters = target_parameters(spec, adapters);
  if (experts.contains("gate_proj") || experts.contains("up_proj")) {
    config.gate_up_rank = 2 * adapters.lora.rank;
    config.gate_up_alpha = adapters.lora.alpha * (adapters.lora.rslora ? std::sqrt(2.0) : 2.0);
  }
  return config;
}

std::vector<io::TensorSource> adapter_sources(const config::ModelSpec& spec,
                                              const layout::Adapters& adapters,
                                              const std::vector<at::Tensor>& blocks,
                                              ExpertAdapters kind) {
  std::vector<io::TensorSource> list;
  for (io::TensorSource& tensor :
       tensor_sources(adapters.layout, held_blocks(blocks), io::DType::kF32)) {
    const bool expert = tensor.name.find(".mlp.experts.") != std::string::npos;
    if (expert && kind == ExpertAdapters::kParameters) continue;
    tensor.name = kPrefix + tensor.name;
    list.push_back(std::move(tensor));
  }
  if (kind == ExpertAdapters::kModules) return list;
  const auto staging = std::make_shared<at::Tensor>();
  for (int64_t layer = 0; layer < spec.layers; ++layer) {
    const LayerAdapters views =
        layer_adapters(spec, adapters, layer, blocks[layout::ModelLayout::layer(layer)]);
    add_expert_parameters(spec, views, layer, staging, list);
  }
  return list;
}

std::vector<io::TensorSource> merged_sources(const layout::ModelLayout& layout,
                                             const io::WeightFiles& files,
                                             const layout::Adapters& adapters,
                                             const std::vector<at::Tensor>& blocks) {
  const auto staging = std::make_shared<at::Tensor>();
  std::vector<io::TensorSource> list;
  for (size_t block = 0; block < layout.blocks.size(); ++block) {
    std::map<std::string, const layout::ParamInfo*> found;
    for (const layout::ParamInfo& info : adapters.layout.blocks[block].params)
      found[info.name] = &info;
    for (const layout::ParamInfo& info : layout.blocks[block].params) {
      const std::string module = info.name.substr(0, info.name.rfind('.'));
      const auto a = found.find(module + ".lora_A.weight");
      const bool adapted = a != found.end() && info.name.ends_with(".weight");
      const layout::ParamInfo* a_info = adapted ? a->second : nullptr;
      const layout::ParamInfo* b_info = adapted ? found.at(module + ".lora_B.weight") : nullptr;
      auto bytes = [=, &info, &files, &flat = blocks[block], scale = adapters.lora.scale()] {
        *staging = at::Tensor();  // before the next is read: nothing is held twice
        at::Tensor weight = read_param(files, info);
        *staging = a_info == nullptr ? weight
                                     : merged(weight, param_view(flat, *a_info),
                                              param_view(flat, *b_info), scale);
        return std::span(static_cast<const std::byte*>(staging->const_data_ptr()),
                         staging->nbytes());
      };
      list.push_back({info.name, stored_dtype(files, info), info.shape, std::move(bytes)});
    }
  }
  return list;
}

}  // namespace trireme::model
