// Low-rank adaptation (Hu et al. 2021): y = x W^T + scale * dropout(x) A^T B^T, with W frozen.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/choices.h"

namespace trireme::config {

// Ranks or alphas of linears by keys of PEFT's (config/module_pattern.h); the first that matches
// counts.
template <typename T>
using LoraPattern = std::vector<std::pair<std::string, T>>;

// PEFT's LoraConfig, as far as it is built.
struct LoraSpec {
  int64_t rank = 8;                         // r
  double alpha = 8;                         // lora_alpha
  double dropout = 0;                       // lora_dropout
  bool rslora = false;                      // use_rslora
  std::vector<std::string> target_modules;  // "q_proj", ..., or "all-linear"
  std::string target_pattern;               // target_modules as one pattern of whole names
  std::vector<std::string> exclude_modules;
  std::string exclude_pattern;
  std::vector<int64_t> layers_to_transform;  // none: all layers
  std::vector<std::string> layers_pattern;
  LoraPattern<int64_t> rank_pattern;
  LoraPattern<double> alpha_pattern;
  std::vector<std::string> modules_to_save;  // trained whole beside the adapters
  LoraBias bias = LoraBias::kNone;           // biases of the base that are trained
  bool lora_bias = false;                    // each B has a bias
  bool dora = false;                         // use_dora (model/dora.h)

  // Of an adapter with this rank and alpha, or with those above.
  double scale(int64_t of_rank, double of_alpha) const {
    const auto r = static_cast<double>(of_rank);
    return of_alpha / (rslora ? std::sqrt(r) : r);
  }
  double scale() const { return scale(rank, alpha); }
};

struct LoraOptions;

// What the options say; nullopt without use_lora. UserError where they name no target, or what is
// no JSON of the field's kind.
std::optional<LoraSpec> lora_of(const LoraOptions& options);

}  // namespace trireme::config
