// Low-rank adaptation (Hu et al. 2021): y = x W^T + scale * dropout(x) A^T B^T, with W frozen.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace trireme::config {

// PEFT's LoraConfig, as far as it is built: bias none, no DoRA, the same rank everywhere.
struct LoraSpec {
  int64_t rank = 8;                         // r
  double alpha = 8;                         // lora_alpha
  double dropout = 0;                       // lora_dropout
  bool rslora = false;                      // use_rslora
  std::vector<std::string> target_modules;  // "q_proj", ..., or "all-linear"; never empty

  double scale() const {
    const auto r = static_cast<double>(rank);
    return alpha / (rslora ? std::sqrt(r) : r);
  }
};

struct LoraOptions;

// What the options say; nullopt without use_lora. UserError where they name no target.
std::optional<LoraSpec> lora_of(const LoraOptions& options);

}  // namespace trireme::config
