// PEFT's LoraConfig as JSON: adapter_config.json, and model.lora_config of a run config, where
// people copy its fields. Known fields are those of PEFT 0.21.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/json.h"
#include "config/lora_spec.h"

namespace trireme::config {

enum class PeftFile { kRunConfig, kAdapter };

// Names of all fields of a LoraConfig.
std::span<const std::string> peft_fields();
bool is_peft_field(std::string_view name);

// Why a field with this value cannot be taken: "use_dora: true is not built: ..."; "" where it can
// (a value that asks for nothing, as null, false or an empty list, always can). The fields that are
// options are not looked at here.
std::string peft_field_refusal(const std::string& name, const Json& value, PeftFile file);

// rank_pattern (T = int64_t) or alpha_pattern (double): an object of numbers. `where` begins the
// UserError.
template <typename T>
LoraPattern<T> read_lora_pattern(const Json& value, const std::string& where);

// What adapter_config.json says.
struct PeftConfig {
  LoraSpec lora;
  std::vector<std::string> target_parameters;  // "mlp.experts.gate_up_proj"
  std::string base_model;                      // base_model_name_or_path
};

// UserError that names file, place, field and value for what is not a LoRA of ours.
PeftConfig parse_peft_config(std::string_view text, const std::string& name);

// The file, as PEFT writes it.
Json peft_config_json(const PeftConfig& config);

}  // namespace trireme::config
