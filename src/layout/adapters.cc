#include "layout/adapters.h"

#include <algorithm>

#include "base/error.h"
#include "layout/hf_tensors.h"

namespace trireme::layout {
namespace {

// The linears of a layer, those of one fused matrix together (the experts' are one).
std::vector<std::vector<NamedShape>> fused_linears(const std::vector<NamedShape>& tensors) {
  std::vector<std::vector<NamedShape>> groups;
  for (const NamedShape& tensor : tensors) {
    if (!is_linear(tensor)) continue;
    if (!tensor.joins_previous) groups.emplace_back();
    groups.back().push_back(tensor);
  }
  return groups;
}

// The fewest names that mean these modules: the last part where all that end so are among them.
std::vector<std::string> fewest_names(const config::ModelSpec& spec, const AdapterSizes& linears) {
  std::map<std::string, int64_t> missing;  // by last part: linears that are not among them
  for (int64_t layer = 0; layer < spec.layers; ++layer) {
    for (const std::string& module : layer_linears(spec, layer)) ++missing[leaf_of(module)];
  }
  for (const auto& [module, size] : linears) --missing[leaf_of(module)];
  std::vector<std::string> list;
  std::set<std::string> listed;
  for (int64_t layer = 0; layer < spec.layers; ++layer) {
    for (const std::string& module : layer_linears(spec, layer)) {
      if (!linears.contains(module)) continue;
      const std::string leaf = leaf_of(module);
      const std::string& name = missing[leaf] == 0 ? leaf : module;
      if (listed.insert(name).second) list.push_back(name);
    }
  }
  return list;
}

// The sizes' ranks or alphas that differ from `base`: by last part where all that end so agree.
template <typename T>
config::LoraPattern<T> exceptions(const AdapterSizes& sizes, T AdapterSize::*member, T base) {
  std::map<std::string, std::set<T>> values;
  for (const auto& [name, size] : sizes) values[leaf_of(name)].insert(size.*member);
  config::LoraPattern<T> list;
  std::set<std::string> listed;
  for (const auto& [name, size] : sizes) {
    const std::string leaf = leaf_of(name);
    const std::string& key = values[leaf].size() == 1 ? leaf : name;
    if (size.*member != base && listed.insert(key).second) list.emplace_back(key, size.*member);
  }
  return list;
}

// What a fused matrix's adapters are made of: the linears that have one, and its parts' names in
// order (the experts' gates, then their ups).
class FusedAdapters {
 public:
  FusedAdapters(const std::vector<NamedShape>& linears, const AdapterSizes& sizes)
      : linears_(linears), sizes_(sizes) {
    for (const NamedShape& linear : linears) {
      const std::string module = module_of(linear.name);
      if (!sizes.contains(module)) continue;
      chosen_.push_back(&linear);
      const std::string part = leaf_of(module);
      if (std::ranges::find(parts_, part) == parts_.end()) parts_.push_back(part);
    }
    for (const std::string& part : parts_) check_experts(part);
  }

  // All A, then B part by part, then magnitudes and biases.
  void add(const config::LoraSpec& lora, std::vector<NamedShape>& list) const {
    for (const NamedShape* linear : chosen_) {
      list.push_back({module_of(linear->name) + ".lora_A.weight",
                      {size(*linear).rank, linear->shape[1]},
                      true,
                      linear != chosen_.front()});
    }
    for (const std::string& part : parts_) {
      bool joins = false;
      for (const NamedShape* linear : chosen_) {
        if (!is_of(*linear, part)) continue;
        list.push_back({module_of(linear->name) + ".lora_B.weight",
                        {linear->shape[0], size(*linear).rank},
                        true,
                        joins});
        joins = true;
      }
    }
    if (lora.lora_bias) refuse_experts("lora_bias");
    if (lora.dora) refuse_experts("use_dora");
    for (const NamedShape* linear : chosen_) {
      const std::string module = module_of(linear->name);
      // As transformers' Trainer, which takes weight decay from biases and norms only.
      if (lora.dora) list.push_back({module + ".lora_magnitude_vector", {linear->shape[0]}});
      if (lora.lora_bias) list.push_back({module + ".lora_B.bias", {linear->shape[0]}, false});
    }
  }

 private:
  static bool is_of(const NamedShape& linear, const std::string& part) {
    return leaf_of(module_of(linear.name)) == part;
  }
  void refuse_experts(const char* field) const {
    if (chosen_.empty() || chosen_.front()->name.find(".experts.") == std::string::npos) return;
    fail("{}: PEFT does not know it for adapters of experts: leave it out, or target other linears",
         field);
  }
  const AdapterSize& size(const NamedShape& linear) const {
    return sizes_.at(module_of(linear.name));
  }

  // One product computes the adapters of all experts.
  void check_experts(const std::string& part) const {
    int64_t all = 0, count = 0;
    const AdapterSize* first = nullptr;
    for (const NamedShape& linear : linears_) all += is_of(linear, part);
    for (const NamedShape* linear : chosen_) {
      if (!is_of(*linear, part)) continue;
      ++count;
      if (first == nullptr) first = &size(*linear);
      if (size(*linear) == *first) continue;
      fail(
          "rank_pattern, alpha_pattern: {} has r {} and alpha {:g}, an expert before it r {} and "
          "alpha {:g}: all experts of a layer must have the same",
          module_of(linear->name), size(*linear).rank, size(*linear).alpha, first->rank,
          first->alpha);
    }
    if (count == all) return;
    fail("target_modules: {} of the {} experts beside {} have an adapter of {}: all or none must",
         count, all, module_of(linears_.front().name), part);
  }

  const std::vector<NamedShape>& linears_;
  const AdapterSizes& sizes_;
  std::vector<const NamedShape*> chosen_;
  std::vector<std::string> parts_;
};

// Which of the base's tensors are trained whole.
class WholeTensors {
 public:
  explicit WholeTensors(const Adapters& adapters) : adapters_(adapters) {}

  void add(const std::vector<NamedShape>& tensors, std::vector<NamedShape>& list) const {
    for (const NamedShape& tensor : tensors) {
      if (trained(tensor)) list.push_back({tensor.name, tensor.shape, tensor.decays});
    }
  }

 private:
  bool trained(const NamedShape& tensor) const {
    const std::string module = module_of(tensor.name);
    if (tensor.name.ends_with(".bias")) {
      const config::LoraBias bias = adapters_.lora.bias;
      return bias == config::LoraBias::kAll ||
             (bias == config::LoraBias::kLoraOnly && adapters_.linears.contains(module));
    }
    return !is_linear(tensor) && is_saved(adapters_.lora.modules_to_save, module);
  }

  const Adapters& adapters_;
};

// The head has a copy of its own where it is trained, also where the base's is the embedding.
std::vector<NamedShape> trainable_head(const config::ModelSpec& spec) {
  std::vector<NamedShape> list = head_tensors(spec);
  if (spec.tied) list.insert(list.begin(), {"lm_head.weight", {spec.vocab, spec.hidden}});
  return list;
}

}  // namespace

double Adapters::scale(const std::string& linear) const {
  const AdapterSize& size = linears.at(linear);
  return lora.scale(size.rank, size.alpha);
}

void set_patterns(config::LoraSpec& lora, const AdapterSizes& sizes) {
  lora.rank_pattern = exceptions(sizes, &AdapterSize::rank, lora.rank);
  lora.alpha_pattern = exceptions(sizes, &AdapterSize::alpha, lora.alpha);
}

Adapters place_adapters(const config::ModelSpec& spec, const config::LoraSpec& lora,
                        AdapterSizes linears) {
  check_modules_to_save(spec, lora.modules_to_save);
  if (lora.dora && lora.lora_bias) {
    fail("use_dora with lora_bias: PEFT does not know both together: leave one out");
  }
  Adapters adapters{lora, std::move(linears), {}};
  adapters.lora.target_modules = fewest_names(spec, adapters.linears);
  adapters.lora.target_pattern.clear();
  adapters.lora.exclude_modules.clear();
  adapters.lora.exclude_pattern.clear();
  adapters.lora.layers_to_transform.clear();
  set_patterns(adapters.lora, adapters.linears);
  const WholeTensors whole(adapters);
  const auto add_block = [&](std::vector<NamedShape> list, const std::vector<NamedShape>& base) {
    whole.add(base, list);
    adapters.layout.blocks.push_back(place(std::move(list)));
  };
  add_block({}, {embedding_tensor(spec)});
  for (int64_t layer = 0; layer < spec.layers; ++layer) {
    const std::vector<NamedShape> tensors = layer_tensors(spec, layer);
    std::vector<NamedShape> list;
    for (const auto& group : fused_linears(tensors)) {
      FusedAdapters(group, adapters.linears).add(lora, list);
    }
    add_block(std::move(list), tensors);
  }
  add_block({}, trainable_head(spec));
  return adapters;
}

Adapters make_adapters(const config::ModelSpec& spec, const config::LoraSpec& lora) {
  if (lora.rank < 1) fail("lora_r {}: the rank of adapters must be at least 1", lora.rank);
  check_targets(spec, lora);
  const SizeRules rules(lora);
  AdapterSizes sizes;
  for (const std::string& linear : target_linears(spec, lora)) sizes[linear] = rules.of(linear);
  rules.check_used(sizes);
  return place_adapters(spec, lora, std::move(sizes));
}

}  // namespace trireme::layout
