#include "layout/adapters.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <string_view>

#include "base/error.h"
#include "base/nearest.h"
#include "layout/hf_tensors.h"

namespace trireme::layout {
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

// The target modules of an adapter, indexed for fast look-up: an adapter of some layers' experts
// names thousands of linears in full.
class TargetModules {
 public:
  explicit TargetModules(const std::vector<std::string>& targets) {
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

  // Removes the targets that name this linear.
  void remove(const std::string& module) {
    whole_.erase(module);
    std::erase_if(ends_, [&](const std::string& end) { return is_end(end, module); });
  }

  // One of the targets; "" when none is left.
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
  TargetModules unused(targets);
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
void add_adapters(const std::vector<NamedShape>& linears, const TargetModules& targets,
                  int64_t rank, std::vector<NamedShape>& list) {
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
  const TargetModules targets(adapters.lora.target_modules);
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

}  // namespace trireme::layout
