#include "config/lora_spec.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "config/module_pattern.h"
#include "config/peft_config.h"
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

// Names, or one pattern.
void set_modules(const std::string& text, std::vector<std::string>& names, std::string& pattern) {
  if (is_pattern(text)) {
    pattern = text;
  } else {
    names = split_names(text);
  }
}

std::vector<int64_t> layer_numbers(const std::string& text) {
  std::vector<int64_t> numbers;
  for (const std::string& one : split_names(text)) {
    int64_t& number = numbers.emplace_back();
    const char* end = one.data() + one.size();
    const auto [stop, error] = std::from_chars(one.data(), end, number);
    if (error != std::errc() || stop != end || number < 0) {
      fail("--layers_to_transform: '{}' is no number of a layer: give some, as 0,1,2", one);
    }
  }
  return numbers;
}

template <typename T>
LoraPattern<T> pattern_of(const std::string& text, const std::string& flag) {
  if (text.empty()) return {};
  return read_lora_pattern<T>(parse_json(text, flag), flag);
}

}  // namespace

std::optional<LoraSpec> lora_of(const LoraOptions& options) {
  if (!options.use_lora) return std::nullopt;
  LoraSpec lora{.rank = options.lora_r,
                .alpha = options.lora_alpha,
                .dropout = options.lora_dropout,
                .rslora = options.use_rslora,
                .layers_to_transform = layer_numbers(options.layers_to_transform),
                .layers_pattern = split_names(options.layers_pattern),
                .rank_pattern = pattern_of<int64_t>(options.rank_pattern, "--rank_pattern"),
                .alpha_pattern = pattern_of<double>(options.alpha_pattern, "--alpha_pattern"),
                .modules_to_save = split_names(options.modules_to_save),
                .bias = options.bias,
                .lora_bias = options.lora_bias,
                .dora = options.use_dora};
  set_modules(options.target_modules, lora.target_modules, lora.target_pattern);
  set_modules(options.exclude_modules, lora.exclude_modules, lora.exclude_pattern);
  if (lora.target_modules.empty() && lora.target_pattern.empty()) {
    fail("--target_modules: no name in it: give some, as q_proj,v_proj, or all-linear");
  }
  return lora;
}

}  // namespace trireme::config
