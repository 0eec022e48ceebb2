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
  kRead,  // one of ours
  kFree,  // says nothing about the numbers
  kOnly,  // the one value `only`, else refused
};

struct Field {
  const char* name;
  Rule rule;
  const char* only = "";
};

constexpr std::array kFields = std::to_array<Field>({
    {"alora_invocation_tokens", Rule::kOnly},
    {"alpha_pattern", Rule::kRead},
    {"arrow_config", Rule::kOnly},
    {"auto_mapping", Rule::kFree},
    {"base_model_name_or_path", Rule::kFree},
    {"bias", Rule::kRead},
    {"corda_config", Rule::kOnly},
    {"ensure_weight_tying", Rule::kOnly},
    {"eva_config", Rule::kOnly},
    {"exclude_modules", Rule::kRead},
    {"fan_in_fan_out", Rule::kOnly},
    {"inference_mode", Rule::kFree},
    {"init_lora_weights", Rule::kOnly, "true"},
    {"kasa_config", Rule::kOnly},
    {"layer_replication", Rule::kOnly},
    {"layers_pattern", Rule::kRead},
    {"layers_to_transform", Rule::kRead},
    {"loftq_config", Rule::kOnly},
    {"lora_alpha", Rule::kRead},
    {"lora_bias", Rule::kRead},
    {"lora_dropout", Rule::kRead},
    {"lora_ga_config", Rule::kOnly},
    {"megatron_config", Rule::kOnly},
    {"megatron_core", Rule::kFree},
    {"modules_to_save", Rule::kRead},
    {"monteclora_config", Rule::kOnly},
    {"peft_type", Rule::kOnly, "LORA"},
    {"peft_version", Rule::kFree},
    {"qalora_group_size", Rule::kFree},
    {"r", Rule::kRead},
    {"rank_pattern", Rule::kRead},
    {"revision", Rule::kFree},
    {"runtime_config", Rule::kFree},
    {"target_modules", Rule::kRead},
    {"target_parameters", Rule::kOnly},
    {"task_type", Rule::kOnly, "CAUSAL_LM"},
    {"trainable_token_indices", Rule::kOnly},
    {"use_bdlora", Rule::kOnly},
    {"use_dora", Rule::kRead},
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

double number_of(const Json& value, double least, const std::string& where) {
  const double result = value.is_number() ? value.get<double>() : least - 1;
  if (!(result >= least)) {
    fail("{}: a number of at least {} is expected, found {}", where, least, json_text(value));
  }
  return result;
}

int64_t rank_of(const Json& value, const std::string& where) {
  number_of(value, 1, where);
  if (!value.is_number_integer() || value.get<double>() > 1 << 20) {
    fail("{}: {} is no rank: a whole number is expected", where, json_text(value));
  }
  return value.get<int64_t>();
}

// 64 rather than 64.0 where it is whole: PEFT's lora_alpha is an int.
Json number_json(double value) {
  const auto whole = static_cast<int64_t>(std::clamp(value, -1e15, 1e15));
  return static_cast<double>(whole) == value ? Json(whole) : Json(value);
}

template <typename T>
Json pattern_json(const LoraPattern<T>& pattern) {
  Json json = Json::object();
  for (const auto& [key, value] : pattern) json[key] = number_json(static_cast<double>(value));
  return json;
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

  void read_field(PeftConfig& config, const std::string& key, const Json& value) {
    if (key == "r") {
      config.lora.rank = rank_of(value, where(key));
    } else if (key == "lora_alpha") {
      config.lora.alpha = number_of(value, kLeastAlpha, where(key));
    } else if (key == "lora_dropout") {
      config.lora.dropout = number_of(value, 0, where(key));
      if (config.lora.dropout >= 1) fail("{}: {} is not below 1", where(key), json_text(value));
    } else if (key == "use_rslora") {
      config.lora.rslora = flag(key, value);
    } else if (key == "use_dora") {
      config.lora.dora = flag(key, value);
    } else if (key == "lora_bias") {
      config.lora.lora_bias = flag(key, value);
    } else if (key == "base_model_name_or_path") {
      config.base_model = text_of(value);
    } else if (key == "target_parameters") {
      read_parameters(config, value);
    } else if (key == "rank_pattern") {
      config.lora.rank_pattern = read_lora_pattern<int64_t>(value, where(key));
    } else if (key == "alpha_pattern") {
      config.lora.alpha_pattern = read_lora_pattern<double>(value, where(key));
    } else if (key == "target_modules") {
      modules(key, value, config.lora.target_modules, config.lora.target_pattern);
    } else if (key == "exclude_modules") {
      modules(key, value, config.lora.exclude_modules, config.lora.exclude_pattern);
    } else if (key == "layers_to_transform") {
      config.lora.layers_to_transform = layers(value);
    } else if (key == "layers_pattern") {
      config.lora.layers_pattern = names(key, value);
    } else if (key == "modules_to_save") {
      config.lora.modules_to_save = names(key, value);
    } else if (key == "bias") {
      config.lora.bias = bias(value);
    } else if (const std::string reason = peft_field_refusal(key, value, PeftFile::kAdapter);
               !reason.empty()) {
      fail("{}: {}", where(key), reason);
    }
  }

  bool flag(const std::string& key, const Json& value) const {
    if (!value.is_boolean()) {
      fail("{}: true or false is expected, found {}", where(key), json_text(value));
    }
    return value.get<bool>();
  }

  std::vector<std::string> names(const std::string& key, const Json& value) const {
    std::vector<std::string> list;
    for (const Json& name : value.is_array() ? value : Json::array({value})) {
      if (!name.is_string()) {
        fail("{}: a list of names is expected, found {}", where(key), json_text(value));
      }
      list.push_back(name.get<std::string>());
    }
    return list;
  }

  // PEFT takes a list as names, and a string as one pattern.
  void modules(const std::string& key, const Json& value, std::vector<std::string>& list,
               std::string& pattern) const {
    if (value.is_string() && value != "all-linear") {
      pattern = value.get<std::string>();
    } else {
      list = names(key, value);
    }
  }

  std::vector<int64_t> layers(const Json& value) const {
    std::vector<int64_t> list;
    for (const Json& one : value.is_array() ? value : Json::array({value})) {
      const std::optional<int64_t> layer = whole_number(one, 0, 1 << 20);
      if (!layer) {
        fail("{}: numbers of layers are expected, found {}", where("layers_to_transform"),
             json_text(value));
      }
      list.push_back(*layer);
    }
    return list;
  }

  LoraBias bias(const Json& value) const {
    static constexpr auto kBiases = kWords<LoraBias>;
    const auto found = std::ranges::find(kBiases, text_of(value));
    if (found == kBiases.end()) {
      fail("{}: none, all or lora_only is expected, found {}", where("bias"), json_text(value));
    }
    return static_cast<LoraBias>(found - kBiases.begin());
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
  // `init_lora_weights: false` asks for something: for a B that is not zero.
  const bool start = name == "init_lora_weights";
  if (start && adapter && harmless_start(value)) return "";
  if (neutral(value) && !start) return "";
  const std::string only = field->only;
  if (!only.empty() && text_of(value) == only) return "";
  if (start && adapter) {
    return fmt::format(
        "{} is not built: such a start changes the model's own weights: save the "
        "adapter in PEFT with path_initial_model_for_weight_conversion, or {}",
        json_text(value), remedy);
  }
  if (!only.empty()) {
    return fmt::format("{} is not built, only {}: {}", json_text(value), only, remedy);
  }
  return fmt::format("{} is not built: {}", json_text(value), remedy);
}

template <typename T>
LoraPattern<T> read_lora_pattern(const Json& value, const std::string& where) {
  if (!value.is_object()) {
    fail("{}: an object is expected, as {{\"q_proj\": 4}}, found {}", where, json_text(value));
  }
  LoraPattern<T> pattern;
  for (const auto& [key, number] : value.items()) {
    const std::string of_key = fmt::format("{}: {}", where, key);
    if constexpr (std::is_integral_v<T>) {
      pattern.emplace_back(key, rank_of(number, of_key));
    } else {
      pattern.emplace_back(key, number_of(number, kLeastAlpha, of_key));
    }
  }
  return pattern;
}
template LoraPattern<int64_t> read_lora_pattern(const Json& value, const std::string& where);
template LoraPattern<double> read_lora_pattern(const Json& value, const std::string& where);

PeftConfig parse_peft_config(std::string_view text, const std::string& name) {
  require_written_by_hand(text, name);
  return AdapterReader(text, name).read();
}

Json peft_config_json(const PeftConfig& config) {
  const LoraSpec& lora = config.lora;
  Json json = {{"auto_mapping", nullptr},
               {"base_model_name_or_path", config.base_model},
               {"bias", kWords<LoraBias>[static_cast<size_t>(lora.bias)]},
               {"fan_in_fan_out", false},
               {"inference_mode", true},
               {"init_lora_weights", true},
               {"layers_pattern", nullptr},
               {"layers_to_transform", nullptr},
               {"lora_alpha", number_json(lora.alpha)},
               {"lora_dropout", lora.dropout},
               {"modules_to_save", nullptr},
               {"peft_type", "LORA"},
               {"r", lora.rank},
               {"rank_pattern", pattern_json(lora.rank_pattern)},
               {"alpha_pattern", pattern_json(lora.alpha_pattern)},
               {"revision", nullptr},
               {"target_modules", lora.target_modules},
               {"task_type", "CAUSAL_LM"},
               {"use_dora", lora.dora},
               {"use_rslora", lora.rslora}};
  if (!lora.modules_to_save.empty()) json["modules_to_save"] = lora.modules_to_save;
  // PEFT before 0.17 does not know the first field, and before 0.14 the second.
  if (!config.target_parameters.empty()) json["target_parameters"] = config.target_parameters;
  if (lora.lora_bias) json["lora_bias"] = true;
  return json;
}

}  // namespace trireme::config
