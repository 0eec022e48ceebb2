// Which modules the fields of PEFT's LoraConfig mean: those that get an adapter, of which rank and
// alpha, and those that are trained whole.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/lora_spec.h"
#include "config/model_spec.h"
#include "config/module_pattern.h"
#include "layout/hf_tensors.h"

namespace trireme::layout {

struct AdapterSize {
  int64_t rank = 0;
  double alpha = 0;
  bool operator==(const AdapterSize&) const = default;
};

// By the name of the linear (or, in a file, of the 3-D parameter) that is adapted.
using AdapterSizes = std::map<std::string, AdapterSize>;

// The module of a tensor: "model.layers.0.self_attn.q_proj.weight" -> "...q_proj".
std::string module_of(const std::string& tensor);
// The last part of a module's name.
std::string leaf_of(const std::string& module);
// Whether the tensor is the weight of a linear that can have an adapter. The router's logits decide
// where tokens go: it is no linear in transformers 5, and has no adapter here.
bool is_linear(const NamedShape& tensor);

// Names of the linears that can have an adapter, without ".weight": all but lm_head and the router.
std::vector<std::string> layer_linears(const config::ModelSpec& spec, int64_t layer);

// Rank and alpha by name, as PEFT finds them: the first key of rank_pattern and of alpha_pattern
// that matches, else r and lora_alpha. UserError for a key that is no pattern.
class SizeRules {
 public:
  explicit SizeRules(const config::LoraSpec& lora);
  AdapterSize of(const std::string& name) const;
  // UserError for a key that matches none of these.
  void check_used(const AdapterSizes& sizes) const;

 private:
  template <typename T>
  using Keys = std::vector<std::pair<config::ModuleKey, T>>;

  config::LoraSpec lora_;
  Keys<int64_t> ranks_;
  Keys<double> alphas_;
};

// The linears that target_modules, exclude_modules and layers_to_transform name. A target names a
// linear whole ("model.layers.0.self_attn.q_proj") or by its end ("q_proj", "self_attn.q_proj"), as
// in PEFT, or a pattern describes whole names. UserError for layers that the model lacks.
std::set<std::string> target_linears(const config::ModelSpec& spec, const config::LoraSpec& lora);

// UserError for a name among them that this model has not (the nearest is suggested), and where
// nothing is targeted.
void check_targets(const config::ModelSpec& spec, const config::LoraSpec& lora);

// Whether modules_to_save mean this module: PEFT compares the ends of names, also within a part.
bool is_saved(const std::vector<std::string>& modules_to_save, const std::string& module);

// UserError for one of modules_to_save that names nothing, or a linear: only the embedding, the
// head, norms and the router are trained whole beside adapters.
void check_modules_to_save(const config::ModelSpec& spec,
                           const std::vector<std::string>& modules_to_save);

}  // namespace trireme::layout
