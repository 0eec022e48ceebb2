#include "config/quantization.h"

#include <algorithm>
#include <initializer_list>

#include "base/error.h"
#include "base/log.h"
#include "config/model_spec_keys.h"

namespace trireme::config {
namespace {

constexpr const char* kPrefix = "quantization_config.";

void require_one_of(const Keys& keys, const char* key, std::initializer_list<const char*> known) {
  const std::string value = keys.text_or(key, *known.begin());
  if (std::ranges::find(known, value) != known.end()) return;
  fail("{}: {}{} {} is not supported: trireme reads {}", keys.name(), kPrefix, key, value,
       fmt::join(known, ", "));
}

// Their values change nothing of the weights, which say themselves whether they are float8.
bool known_key(const std::string& key) {
  static constexpr const char* kKnown[] = {
      "quant_method",      "fmt",        "weight_block_size",      "activation_scheme",
      "scale_fmt",         "dequantize", "modules_to_not_convert", "ignored_layers",
      "modules_to_convert"};
  return std::ranges::find(kKnown, key) != std::end(kKnown);
}

Fp8Blocks read_blocks(const Keys& keys) {
  constexpr const char* key = "weight_block_size";
  if (!keys.has(key)) return {};
  const Json* size = keys.find(key);
  if (size == nullptr) return {0, 0};  // null
  const auto side = [&](size_t i) { return whole_number((*size)[i], 1, Keys::kMostSize); };
  if (!size->is_array() || size->size() != 2 || !side(0) || !side(1)) {
    fail("{}: {}{} is {}: two whole numbers from 1 are expected: [128, 128]", keys.name(), kPrefix,
         key, json_text(*size));
  }
  return {*side(0), *side(1)};
}

}  // namespace

Fp8Blocks read_fp8(const Json& quantization, const std::string& name) {
  if (!quantization.is_object()) {
    fail("{}: quantization_config is {}: an object is expected", name, json_text(quantization));
  }
  const Keys keys(quantization, name, kPrefix);
  // bitsandbytes' own key stands for the method in old files.
  const bool bits = keys.flag_or("load_in_4bit", false) || keys.flag_or("load_in_8bit", false);
  const std::string method = keys.text_or("quant_method", bits ? "bitsandbytes" : "without method");
  if (method != "fp8") {
    fail(
        "{}: quantization_config {}: trireme reads unquantised weights and fine-grained fp8: give "
        "the model that this one was made from, or dequantise it: transformers' model.dequantize() "
        "where that method has it, then save_pretrained",
        name, method);
  }
  require_one_of(keys, "fmt", {"e4m3"});
  require_one_of(keys, "activation_scheme", {"dynamic", "static"});
  require_one_of(keys, "scale_fmt", {"float", "ue8m0"});
  if (const Json* more = keys.find("modules_to_convert"); more != nullptr && !more->empty()) {
    fail("{}: {}modules_to_convert {} is not supported: float8 is read in linears only", name,
         kPrefix, json_text(*more));
  }
  for (const auto& [key, value] : quantization.items()) {
    if (!known_key(key) && !value.is_null()) {
      log("{}: {}{} is not known: the weights are read by their scales alone", name, kPrefix, key);
    }
  }
  return read_blocks(keys);
}

}  // namespace trireme::config
