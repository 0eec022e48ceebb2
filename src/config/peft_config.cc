#include "config/peft_config.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/nearest.h"

namespace trireme::config {
namespace {

// An alpha of 0 is an adapter without effect.
constexpr double kLeastAlpha = 1e-6;

// How a field of LoraConfig is read where it asks for something.
enum class Rule {
  kRead,     // one of ours
  kFree,     // says nothing about the numbers
  kTensors,  // which layers are adapted: the tensors of an adapter say so, a run config may not
  kOnly,     // the one value `only`, else refused
};

struct Field {
  const char* name;
  Rule rule;
  const char* only = "";
};

constexpr std::array kFields = std::to_array<Field>({
    {"alora_invocation_tokens", Rule::kOnly},
    {"alpha_pattern", Rule::kOnly},
    {"arrow_config", Rule::kOnly},
    {"auto_mapping", Rule::kFree},
    {"base_model_name_or_path", Rule::kFree},
    {"bias", Rule::kOnly, "none"},
    {"corda_config", Rule::kOnly},
    {"ensure_weight_tying", Rule::kOnly},
    {"eva_config", Rule::kOnly},
    {"exclude_modules", Rule::kTensors},
    {"fan_in_fan_out", Rule::kOnly},
    {"inference_mode", Rule::kFree},
    {"init_lora_weights", Rule::kOnly, "true"},
    {"kasa_config", Rule::kOnly},
    {"layer_replication", Rule::kOnly},
    {"layers_pattern", Rule::kTensors},
    {"layers_to_transform", Rule::kTensors},
    {"loftq_config", Rule::kOnly},
    {"lora_alpha", Rule::kRead},
    {"lora_bias", Rule::kOnly},
    {"lora_dropout", Rule::kRead},
    {"lora_ga_config", Rule::kOnly},
    {"megatron_config", Rule::kOnly},
    {"megatron_core", Rule::kFree},
    {"modules_to_save", Rule::kOnly},
    {"monteclora_config", Rule::kOnly},
    {"peft_type", Rule::kOnly, "LORA"},
    {"peft_version", Rule::kFree},
    {"qalora_group_size", Rule::kFree},
    {"r", Rule::kRead},
    {"rank_pattern", Rule::kOnly},
    {"revision", Rule::kFree},
    {"runtime_config", Rule::kFree},
    {"target_modules", Rule::kRead},
    {"target_parameters", Rule::kOnly},
    {"task_type", Rule::kOnly, "CAUSAL_LM"},
    {"trainable_token_indices", Rule::kOnly},
    {"use_bdlora", Rule::kOnly},
    {"use_dora", Rule::kOnly},
    {"use_qalora", Rule::kOnly},
    {"use_rslora", Rule::kRead},
    {"velora_config", Rule::kOnly},
});

const Field* find_field(std::string_view name) {
  const auto found =
      std::ranges::find_if(kFields, [&](const Field& field) { return field.name == name; });
  return found == kFields.end() ? nullptr : &*found;
}

// Asks for nothing.
bool neutral(const Json& value) {
  return value.is_null() || (value.is_structured() && value.empty()) ||
         (value.is_boolean() && !value.get<bool>());
}

std::string text_of(const Json& value) {
  return value.is_string() ? value.get<std::string>() : json_text(value);
}

// Adapters whose start changed the base model are deltas to other weights than the base's.
bool harmless_start(const Json& value) {
  const std::string text = text_of(value);
  return text == "false" || text == "gaussian" || text == "orthogonal" || text == "eva";
}

// 64 rather than 64.0 where it is whole: PEFT's lora_alpha is an int.
Json number_json(double value) {
  const auto whole = static_cast<int64_t>(std::clamp(value, -1e15, 1e15));
  return static_cast<double>(whole) == value ? Json(whole) : Json(value);
}

class AdapterReader {
 public:
  AdapterReader(std::string_view text, const std::string& name)
      : name_(name), json_(parse_json(text, name, &places_)) {}

  PeftConfig read() {
    if (!json_.is_object()) fail("{}: {} where an object is expected", name_, json_.type_name());
    PeftConfig config;
    for (const auto& [key, value] : json_.items()) {
      if (!value.is_null()) read_field(config, key, value);
    }
    if (!json_.contains("peft_type")) {
      fail("{}: no peft_type: not the configuration of a PEFT adapter", name_);
    }
    if (!json_.contains("r")) fail("{}: no r: the rank of the adapter is expected", name_);
    return config;
  }

 private:
  std::string where(const std::string& key) const {
    return fmt::format("{}:{}: {}", name_, places_.at(key), key);
  }

  double number(const std::string& key, const Json& value, double least) const {
    const double result = value.is_number() ? value.get<double>() : least - 1;
    if (!(result >= least)) {
      fail("{}: a number of at least {} is expected, found {}", where(key), least,
           json_text(value));
    }
    return result;
  }

  int64_t rank(const std::string& key, const Json& value) const {
    number(key, value, 1);
    if (!value.is_number_integer() || value.get<double>() > 1 << 20) {
      fail("{}: {} is no rank: a whole number is expected", where(key), json_text(value));
    }
    return value.get<int64_t>();
  }

  void read_field(PeftConfig& config, const std::string& key, const Json& value) {
    if (key == "r") {
      config.lora.rank = rank(key, value);
    } else if (key == "lora_alpha") {
      config.lora.alpha = number(key, value, kLeastAlpha);
    } else if (key == "lora_dropout") {
      config.lora.dropout = number(key, value, 0);
      if (config.lora.dropout >= 1) fail("{}: {} is not below 1", where(key), json_text(value));
    } else if (key == "use_rslora") {
      if (!value.is_boolean())
        fail("{}: true or false is expected, found {}", where(key), json_text(value));
      config.lora.rslora = value.get<bool>();
    } else if (key == "base_model_name_or_path") {
      config.base_model = text_of(value);
    } else if (key == "target_parameters") {
      read_parameters(config, value);
    } else if (key == "rank_pattern") {
      if (const Json* pattern = gate_up_pattern(key, value)) {
        config.gate_up_rank = rank(key, *pattern);
      }
    } else if (key == "alpha_pattern") {
      if (const Json* pattern = gate_up_pattern(key, value)) {
        config.gate_up_alpha = number(key, *pattern, kLeastAlpha);
      }
    } else if (const std::string reason = peft_field_refusal(key, value, PeftFile::kAdapter);
               !reason.empty()) {
      fail("{}: {}", where(key), reason);
    }
  }

  void read_parameters(PeftConfig& config, const Json& value) const {
    if (!value.is_array()) fail("{}: a list is expected", where("target_parameters"));
    for (const Json& item : value) {
      const std::string name = text_of(item);
      if (!name.ends_with("gate_up_proj") && !name.ends_with("down_proj")) {
        fail("{}: {} is not built: mlp.experts.gate_up_proj and mlp.experts.down_proj are",
             where("target_parameters"), name);
      }
      config.target_parameters.push_back(name);
    }
  }

  // PEFT doubles rank and alpha of gate_up_proj where it joins the adapters of gate and up; other
  // patterns would be ranks of their own.
  const Json* gate_up_pattern(const std::string& key, const Json& patterns) const {
    if (!patterns.is_object()) fail("{}: an object is expected", where(key));
    const Json* found = nullptr;
    for (const auto& [pattern, value] : patterns.items()) {
      if (!pattern.ends_with("gate_up_proj") || found != nullptr) {
        fail(
            "{}: '{}' is not built: one rank and alpha for all, with a pattern for gate_up_proj "
            "of experts only",
            where(key), pattern);
      }
      found = &value;
    }
    return found;
  }

  const std::string& name_;
  KeyPlaces places_;
  Json json_;
};

}  // namespace

std::span<const std::string> peft_fields() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const Field& field : kFields) list.emplace_back(field.name);
    return list;
  }();
  return names;
}

bool is_peft_field(std::string_view name) { return find_field(name) != nullptr; }

std::string peft_field_refusal(const std::string& name, const Json& value, PeftFile file) {
  if (value.is_null()) return "";
  const Field* field = find_field(name);
  const bool adapter = file == PeftFile::kAdapter;
  const char* remedy =
      adapter ? "merge the adapter with PEFT and give the merged model" : "leave the field out";
  if (field == nullptr) {
    if (neutral(value)) return "";
    return fmt::format("{} is not known{}: {}", json_text(value), did_you_mean(name, peft_fields()),
                       remedy);
  }
  if (field->rule == Rule::kRead || field->rule == Rule::kFree) return "";
  if (field->rule == Rule::kTensors && adapter) return "";
  // `init_lora_weights: false` asks for something: for a B that is not zero.
  const bool start = name == "init_lora_weights";
  if (start && adapter && harmless_start(value)) return "";
  if (neutral(value) && !start) return "";
  const std::string only = field->only;
  if (!only.empty() && text_of(value) == only) return "";
  if (!only.empty()) {
    return fmt::format("{} is not built, only {}: {}", json_text(value), only, remedy);
  }
  return fmt::format("{} is not built: {}", json_text(value), remedy);
}

PeftConfig parse_peft_config(std::string_view text, const std::string& name) {
  require_written_by_hand(text, name);
  return AdapterReader(text, name).read();
}

Json peft_config_json(const PeftConfig& config) {
  Json json = {{"auto_mapping", nullptr},
               {"base_model_name_or_path", config.base_model},
               {"bias", "none"},
               {"fan_in_fan_out", false},
               {"inference_mode", true},
               {"init_lora_weights", true},
               {"layers_pattern", nullptr},
               {"layers_to_transform", nullptr},
               {"lora_alpha", number_json(config.lora.alpha)},
               {"lora_dropout", config.lora.dropout},
               {"modules_to_save", nullptr},
               {"peft_type", "LORA"},
               {"r", config.lora.rank},
               {"rank_pattern", Json::object()},
               {"alpha_pattern", Json::object()},
               {"revision", nullptr},
               {"target_modules", config.lora.target_modules},
               {"task_type", "CAUSAL_LM"},
               {"use_dora", false},
               {"use_rslora", config.lora.rslora}};
  // A regular expression of PEFT's own.
  constexpr const char* kGateUp = R"(.*\.gate_up_proj)";
  if (config.gate_up_rank) json["rank_pattern"][kGateUp] = *config.gate_up_rank;
  if (config.gate_up_alpha) json["alpha_pattern"][kGateUp] = number_json(*config.gate_up_alpha);
  // PEFT before 0.17 does not know the field.
  if (!config.target_parameters.empty()) json["target_parameters"] = config.target_parameters;
  return json;
}

}  // namespace trireme::config
