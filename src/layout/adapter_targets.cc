#include "layout/adapter_targets.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/nearest.h"

namespace trireme::layout {
namespace {

// Names of linears: whole, or by their end. Indexed for fast look-up: an adapter of some layers'
// experts names thousands of linears in full.
class ModuleNames {
 public:
  explicit ModuleNames(const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      if (name.starts_with("model.layers.")) {
        whole_.insert(name);
      } else {
        ends_.push_back(name);
      }
    }
  }

  bool name(const std::string& module) const {
    return whole_.contains(module) ||
           std::ranges::any_of(ends_, [&](const auto& end) { return is_end(end, module); });
  }

  // Removes the names that mean this linear.
  void remove(const std::string& module) {
    whole_.erase(module);
    std::erase_if(ends_, [&](const std::string& end) { return is_end(end, module); });
  }

  // One of the names; "" when none is left.
  std::string any() const {
    if (!ends_.empty()) return ends_.front();
    return whole_.empty() ? "" : *whole_.begin();
  }

 private:
  static bool is_end(const std::string& end, const std::string& module) {
    return module == end || (module.ends_with(end) && module.size() > end.size() &&
                             module[module.size() - end.size() - 1] == '.');
  }

  std::set<std::string> whole_;
  std::vector<std::string> ends_;
};

// A field that is a list of names or one pattern.
class ModuleSet {
 public:
  ModuleSet(const std::vector<std::string>& names, const std::string& pattern, const char* field)
      : names_(names) {
    if (!pattern.empty()) pattern_.emplace(pattern, field);
  }
  bool has(const std::string& module) const {
    return pattern_ ? pattern_->matches(module) : names_.name(module);
  }

 private:
  ModuleNames names_;
  std::optional<config::ModulePattern> pattern_;
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

bool all_linear(const config::LoraSpec& lora) {
  return std::ranges::find(lora.target_modules, "all-linear") != lora.target_modules.end();
}

// The layers that may have adapters.
std::vector<bool> chosen_layers(const config::ModelSpec& spec, const config::LoraSpec& lora,
                                bool all) {
  std::vector<bool> chosen(spec.layers, lora.layers_to_transform.empty());
  if (lora.layers_to_transform.empty()) return chosen;
  if (all || !lora.target_pattern.empty()) {
    fail(
        "layers_to_transform: PEFT takes it with names in target_modules only, not with {}: name "
        "the layers in a pattern, as .*layers\\.(0|1)\\..*q_proj",
        all ? "all-linear" : "a pattern");
  }
  const auto means_layers = [](const std::string& pattern) {
    const config::ModulePattern compiled(pattern, "layers_pattern");
    return compiled.matches("layers") || compiled.matches("model.layers");
  };
  if (!lora.layers_pattern.empty() && std::ranges::none_of(lora.layers_pattern, means_layers)) {
    fail(
        "layers_pattern: '{}' is not what this model calls its layers: leave it out, or give "
        "layers",
        lora.layers_pattern.front());
  }
  for (const int64_t layer : lora.layers_to_transform) {
    if (layer >= spec.layers) {
      fail("layers_to_transform: {} is no layer: this model has 0 to {}", layer, spec.layers - 1);
    }
    chosen[layer] = true;
  }
  return chosen;
}

// All tensors of the model, and the head also where it is the embedding's.
std::vector<NamedShape> all_tensors(const config::ModelSpec& spec) {
  std::vector<NamedShape> list = head_tensors(spec);
  list.push_back(embedding_tensor(spec));
  if (spec.tied) list.push_back({"lm_head.weight", {spec.vocab, spec.hidden}});
  for (int64_t layer = 0; layer < spec.layers; ++layer) {
    const std::vector<NamedShape> of_layer = layer_tensors(spec, layer);
    list.insert(list.end(), of_layer.begin(), of_layer.end());
  }
  return list;
}

}  // namespace

std::string module_of(const std::string& tensor) { return tensor.substr(0, tensor.rfind('.')); }

std::string leaf_of(const std::string& module) { return module.substr(module.rfind('.') + 1); }

bool is_linear(const NamedShape& tensor) { return tensor.name.ends_with("_proj.weight"); }

std::vector<std::string> layer_linears(const config::ModelSpec& spec, int64_t layer) {
  std::vector<std::string> modules;
  for (const NamedShape& tensor : layer_tensors(spec, layer)) {
    if (is_linear(tensor)) modules.push_back(module_of(tensor.name));
  }
  return modules;
}

SizeRules::SizeRules(const config::LoraSpec& lora) : lora_(lora) {
  for (const auto& [key, rank] : lora.rank_pattern) {
    ranks_.emplace_back(config::ModuleKey(key, "rank_pattern"), rank);
  }
  for (const auto& [key, alpha] : lora.alpha_pattern) {
    alphas_.emplace_back(config::ModuleKey(key, "alpha_pattern"), alpha);
  }
}

AdapterSize SizeRules::of(const std::string& name) const {
  const auto matches = [&](const auto& entry) { return entry.first.matches(name); };
  const auto rank = std::ranges::find_if(ranks_, matches);
  const auto alpha = std::ranges::find_if(alphas_, matches);
  return {rank == ranks_.end() ? lora_.rank : rank->second,
          alpha == alphas_.end() ? lora_.alpha : alpha->second};
}

void SizeRules::check_used(const AdapterSizes& sizes) const {
  const auto check = [&](const auto& keys, const auto& pattern, const char* field) {
    for (size_t i = 0; i < keys.size(); ++i) {
      const auto matches = [&](const auto& size) { return keys[i].first.matches(size.first); };
      if (std::ranges::any_of(sizes, matches)) continue;
      fail(
          "{}: '{}' names no linear that gets an adapter: leave it out, or add it to "
          "target_modules",
          field, pattern[i].first);
    }
  };
  check(ranks_, lora_.rank_pattern, "rank_pattern");
  check(alphas_, lora_.alpha_pattern, "alpha_pattern");
}

std::set<std::string> target_linears(const config::ModelSpec& spec, const config::LoraSpec& lora) {
  const bool all = all_linear(lora);
  const ModuleSet targets(lora.target_modules, lora.target_pattern, "target_modules");
  const ModuleSet excluded(lora.exclude_modules, lora.exclude_pattern, "exclude_modules");
  const std::vector<bool> layers = chosen_layers(spec, lora, all);
  std::set<std::string> linears;
  for (int64_t layer = 0; layer < spec.layers; ++layer) {
    if (!layers[layer]) continue;
    for (std::string& module : layer_linears(spec, layer)) {
      if ((all || targets.has(module)) && !excluded.has(module)) linears.insert(std::move(module));
    }
  }
  return linears;
}

void check_targets(const config::ModelSpec& spec, const config::LoraSpec& lora) {
  ModuleNames targets(lora.target_modules), excluded(lora.exclude_modules);
  for (const NamedShape& tensor : all_tensors(spec)) {
    if (is_linear(tensor)) targets.remove(module_of(tensor.name));
    excluded.remove(module_of(tensor.name));
  }
  const std::vector<std::string> known = leaves(spec);
  if (const std::string bad = targets.any(); !bad.empty() && !all_linear(lora)) {
    fail(
        "target_modules: '{}' is no linear of this {} model{}: it has {}; all-linear takes them "
        "all",
        bad, config::family_name(spec.family), did_you_mean(bad, known), fmt::join(known, ", "));
  }
  if (const std::string bad = excluded.any(); !bad.empty()) {
    fail("exclude_modules: '{}' is nothing that this {} model has{}: leave it out", bad,
         config::family_name(spec.family), did_you_mean(bad, known));
  }
  if (!target_linears(spec, lora).empty()) return;
  fail("target_modules: {} leaves no linear of this {} model: it has {}",
       lora.target_pattern.empty() ? fmt::format("{}", fmt::join(lora.target_modules, ","))
                                   : lora.target_pattern,
       config::family_name(spec.family), fmt::join(known, ", "));
}

bool is_saved(const std::vector<std::string>& modules_to_save, const std::string& module) {
  return std::ranges::any_of(modules_to_save,
                             [&](const std::string& end) { return module.ends_with(end); });
}

void check_modules_to_save(const config::ModelSpec& spec,
                           const std::vector<std::string>& modules_to_save) {
  if (modules_to_save.empty()) return;
  const std::vector<NamedShape> tensors = all_tensors(spec);
  for (const std::string& name : modules_to_save) {
    bool found = false;
    for (const NamedShape& tensor : tensors) {
      const std::string module = module_of(tensor.name);
      found = found || (!name.empty() && module.ends_with(name));
      // Of the linear itself, or of what it is a part of.
      for (std::string of = module; is_linear(tensor); of.resize(of.rfind('.'))) {
        if (!name.empty() && of.ends_with(name)) {
          fail(
              "modules_to_save: '{}' is or has {}, a linear: only embed_tokens, lm_head, norms and "
              "the router (gate) are trained whole beside adapters: give linears an adapter, or "
              "train the whole model",
              name, module);
        }
        if (of.rfind('.') == std::string::npos) break;
      }
    }
    if (found) continue;
    fail(
        "modules_to_save: '{}' names no module of this {} model that has weights: embed_tokens, "
        "lm_head, norm, input_layernorm, post_attention_layernorm{}{} are known",
        name, config::family_name(spec.family), spec.qk_norm ? ", q_norm, k_norm" : "",
        spec.moe ? ", gate" : "");
  }
}

}  // namespace trireme::layout
