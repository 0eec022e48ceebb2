#include "config/lora_spec.h"

#include <algorithm>

#include "base/error.h"
#include "config/run_config.h"

namespace trireme::config {
namespace {

// "q_proj, v_proj" -> its names.
std::vector<std::string> split_names(const std::string& text) {
  std::vector<std::string> names;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const size_t first = text.find_first_not_of(' ', at);
    const size_t last = text.find_last_not_of(' ', end - 1);
    if (first < end && last != std::string::npos) {
      names.push_back(text.substr(first, last + 1 - first));
    }
    at = end + 1;
  }
  return names;
}

}  // namespace

std::optional<LoraSpec> lora_of(const LoraOptions& options) {
  if (!options.use_lora) return std::nullopt;
  LoraSpec lora{.rank = options.lora_r,
                .alpha = options.lora_alpha,
                .dropout = options.lora_dropout,
                .rslora = options.use_rslora,
                .target_modules = split_names(options.target_modules)};
  if (lora.target_modules.empty()) {
    fail("--target_modules: no name in it: give some, as q_proj,v_proj, or all-linear");
  }
  return lora;
}

}  // namespace trireme::config
