// Writing adapters as PEFT stores them; adapter_merge.cc adds them to the model's weights.
#include <ATen/ops/empty.h>
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

bool of_experts(const std::string& name) { return name.find(".mlp.experts.") != std::string::npos; }

// The last parts of the adapted linears, of experts or of the rest.
std::set<std::string> adapted_leaves(const layout::Adapters& adapters, bool experts) {
  std::set<std::string> leaves;
  for (const auto& [linear, size] : adapters.linears) {
    if (of_experts(linear) == experts) leaves.insert(layout::leaf_of(linear));
  }
  return leaves;
}

// Whether all adapters of experts have the rank and alpha of the adapters in general.
bool plain_experts(const layout::Adapters& adapters) {
  const layout::AdapterSize plain{adapters.lora.rank, adapters.lora.alpha};
  return std::ranges::all_of(adapters.linears, [&](const auto& linear) {
    return !of_experts(linear.first) || linear.second == plain;
  });
}

// Which 3-D parameters of a layer's experts are adapted.
struct AdaptedParameters {
  bool gate_up = false, down = false;
};

AdaptedParameters adapted_parameters(const layout::Adapters& adapters, int64_t layer) {
  const std::string expert = fmt::format("model.layers.{}.mlp.experts.0.", layer);
  const auto has = [&](const char* part) { return adapters.linears.contains(expert + part); };
  return {has("gate_proj") || has("up_proj"), has("down_proj")};
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

// A 3-D parameter with places for the ranks of `slots` parts, the i-th for the rows from
// i out / slots on. A place is as wide as the widest part; what a part leaves of it is zero.
struct JoinedParameter {
  const LinearAdapter& adapter;
  int64_t out, slots;

  int64_t width() const {  // of a place
    int64_t most = 0;
    for (const LinearAdapter::Part& part : adapter.parts) most = std::max(most, part.b.size(2));
    return most;
  }
  int64_t rank() const { return slots * width(); }
  // PEFT knows one scale; B holds what another part's differs by.
  double scale() const { return adapter.parts.front().scale; }
  int64_t first_rank(const LinearAdapter::Part& part) const {
    return part.first_row / (out / slots) * width();
  }

  // [E R, in].
  at::Tensor a() const {
    const at::Tensor& parts = adapter.a;
    at::Tensor whole = at::zeros({parts.size(0), rank(), parts.size(2)}, parts.options());
    for (const LinearAdapter::Part& part : adapter.parts) {
      const int64_t r = part.b.size(2);
      whole.narrow(1, first_rank(part), r).copy_(parts.narrow(1, part.first_rank, r));
    }
    return whole.reshape({-1, parts.size(2)});
  }

  // Parts [E, rows, r] block-diagonal in [E, out, R], then [out, R E] with the expert last.
  at::Tensor b() const {
    const at::Tensor& some = adapter.parts.front().b;
    at::Tensor whole = at::zeros({some.size(0), out, rank()}, some.options());
    for (const LinearAdapter::Part& part : adapter.parts) {
      at::Tensor rows =
          whole.narrow(1, part.first_row, part.rows).narrow(2, first_rank(part), part.b.size(2));
      rows.copy_(part.b);
      if (part.scale != scale()) rows.mul_(part.scale / scale());
    }
    return whole.permute({1, 2, 0}).reshape({out, rank() * some.size(0)});
  }
};

void add_parameter(const std::string& stem, const LinearAdapter& adapter, int64_t out,
                   int64_t slots, const Staging& staging, std::vector<io::TensorSource>& list) {
  const int64_t experts = adapter.a.size(0), in = adapter.a.size(2);
  const int64_t rank = JoinedParameter{adapter, out, slots}.rank();
  list.push_back(source(stem + ".lora_A.weight", {experts * rank, in}, staging, [=] {
    return JoinedParameter{adapter, out, slots}.a();
  }));
  list.push_back(source(stem + ".lora_B.weight", {out, rank * experts}, staging, [=] {
    return JoinedParameter{adapter, out, slots}.b();
  }));
}

void add_expert_parameters(const config::ModelSpec& spec, const LayerAdapters& views, int64_t layer,
                           const Staging& staging, std::vector<io::TensorSource>& list) {
  const std::string experts = fmt::format("{}model.layers.{}.mlp.experts", kPrefix, layer);
  const LinearAdapter& gate_up = views.expert_gate_up.adapter;
  const LinearAdapter& down = views.expert_down.adapter;
  if (gate_up.present()) {
    add_parameter(down.present() ? experts + ".base_layer" : experts, gate_up,
                  2 * spec.moe->intermediate, 2, staging, list);
  }
  if (down.present()) add_parameter(experts, down, spec.hidden, 1, staging, list);
}

// Ranks and alphas by the names that PEFT knows under transformers 5: a layer's 3-D parameters in
// the place of its experts. As JoinedParameter has them.
layout::AdapterSizes parameter_sizes(const config::ModelSpec& spec,
                                     const layout::Adapters& adapters) {
  layout::AdapterSizes sizes;
  for (const auto& [linear, size] : adapters.linears) {
    if (!of_experts(linear)) sizes[linear] = size;
  }
  for (int64_t layer = 0; layer < spec.layers; ++layer) {
    const std::string experts = fmt::format("model.layers.{}.mlp.experts.", layer);
    const auto find = [&](const char* part) {
      return adapters.linears.find(experts + "0." + part);
    };
    const auto gate = find("gate_proj"), up = find("up_proj"), down = find("down_proj");
    const auto none = adapters.linears.end();
    if (down != none) sizes[experts + "down_proj"] = down->second;
    const auto& first = gate != none ? gate : up;
    if (first == none) continue;
    layout::AdapterSize size = first->second;
    if (up != none) size.rank = std::max(size.rank, up->second.rank);
    size.rank *= 2;
    const double growth = static_cast<double>(size.rank) / static_cast<double>(first->second.rank);
    size.alpha *= adapters.lora.rslora ? std::sqrt(growth) : growth;
    sizes[experts + "gate_up_proj"] = size;
  }
  return sizes;
}

}  // namespace

ExpertAdapters resolve_expert_adapters(ExpertAdapters option, const config::ModelSpec& spec,
                                       const layout::Adapters& adapters) {
  if (option != ExpertAdapters::kAuto) return option;
  if (!spec.moe) return ExpertAdapters::kModules;
  const std::set<std::string> leaves = adapted_leaves(adapters, true);
  const bool gate_up = leaves.contains("gate_proj") || leaves.contains("up_proj");
  const bool safe =
      plain_experts(adapters) && (!gate_up || (leaves.size() == 3 && !adapters.lora.rslora));
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
  layout::set_patterns(config.lora, parameter_sizes(spec, adapters));
  return config;
}

std::vector<io::TensorSource> adapter_sources(const config::ModelSpec& spec,
                                              const layout::Adapters& adapters,
                                              const std::vector<at::Tensor>& blocks,
                                              ExpertAdapters kind) {
  std::vector<io::TensorSource> list;
  for (io::TensorSource& tensor :
       tensor_sources(adapters.layout, held_blocks(blocks), io::DType::kF32)) {
    if (of_experts(tensor.name) && kind == ExpertAdapters::kParameters) continue;
    tensor.name = peft_name(adapters, tensor.name);
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

}  // namespace trireme::model
