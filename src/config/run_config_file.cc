#include "config/run_config_file.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "base/nearest.h"
#include "config/json.h"
#include "config/module_pattern.h"
#include "config/names.h"
#include "config/peft_config.h"
#include "config/schema.h"

namespace trireme::config {
namespace {

constexpr std::array kSections = {"model", "data", "training", "ablation_configs"};

// Keys of the users' files that name things for people or for the old script: allowed, without
// effect.
constexpr std::array kUnusedKeys = {"model.name", "model.hf_model_name", "model.checkpoint_dir"};

class Reader {
 public:
  Reader(const std::string& name, RunConfig& run, std::vector<Ablation>& ablations)
      : name_(name), run_(run), ablations_(ablations) {}

  void read(std::string_view text) {
    require_written_by_hand(text, name_);
    const Json root = parse_json(text, name_, &places_);
    if (!root.is_object()) fail("{}: {} where an object is expected", name_, root.type_name());
    for (const auto& [key, value] : root.items()) {
      if (std::ranges::find(kSections, key) == kSections.end()) refuse_section(key);
      if (!value.is_object()) refuse_value(key, value, "an object");
      if (key == "ablation_configs") {
        read_ablations(value);
      } else {
        read_section(key, value);
      }
    }
  }

 private:
  std::string where(const std::string& key) const {
    return fmt::format("{}:{}: {}", name_, places_.at(key), key);
  }

  [[noreturn]] void refuse_value(const std::string& key, const Json& value,
                                 const char* expected) const {
    fail("{}: {} is expected, found {}", where(key), expected, json_text(value));
  }

  [[noreturn]] void refuse_section(const std::string& key) const {
    if (find_option_by_key("training." + key) != nullptr || is_foreign_name(key)) {
      fail("{}: not a section: move the key into 'training'", where(key));
    }
    const std::vector<std::string> known(kSections.begin(), kSections.end());
    fail("{}: unknown section{}: model, data, training and ablation_configs are expected",
         where(key), did_you_mean(key, known));
  }

  [[noreturn]] void refuse_key(const std::string& key) const {
    std::vector<std::string> known(kUnusedKeys.begin(), kUnusedKeys.end());
    for (const Option& option : schema()) {
      if (!option.json_key.empty()) known.push_back(option.json_key);
    }
    fail("{}: unknown key{}: trireme train --help lists the options", where(key),
         did_you_mean(key, known));
  }

  void read_section(const std::string& section, const Json& values) {
    for (const auto& [name, value] : values.items()) {
      const std::string key = section + "." + name;
      if (key == "model.lora_config") {
        read_lora_config(value);
      } else if (is_foreign_name(name) && read_foreign(key, name, value)) {
        continue;
      } else if (const Option* option = find_option_by_key(key)) {
        read_option(*option, key, value);
      } else if (std::ranges::find(kUnusedKeys, key) == kUnusedKeys.end()) {
        refuse_key(key);
      }
    }
  }

  // Whether the name is another program's for this value.
  bool read_foreign(const std::string& key, const std::string& name, const Json& value) {
    if (value.is_null()) return true;
    if (value.is_object()) refuse_value(key, value, "a value");
    const std::string text = value.is_array()    ? joined(key, value)
                             : value.is_string() ? value.get<std::string>()
                                                 : json_text(value);
    const std::optional<Meaning> meaning = meaning_of(name, text, where(key));
    if (!meaning) return false;
    run_.remarks.push_back(meaning->remark);
    if (meaning->option == nullptr) return true;
    note_given(*meaning->option, key);
    set_option(run_, *meaning->option, meaning->value, where(key));
    return true;
  }

  void note_given(const Option& option, const std::string& key) {
    if (std::ranges::find(given_, &option) != given_.end()) {
      fail("{}: --{} is given twice in the file: remove one", where(key), option.name);
    }
    given_.push_back(&option);
  }

  // PEFT's LoraConfig, as people copy it. It is read, and its mistakes refused, with LoRA off too:
  // the command line may switch it on.
  void read_lora_config(const Json& fields) {
    static const std::string kSection = "model.lora_config";
    if (fields.is_null()) return;
    if (!fields.is_object()) refuse_value(kSection, fields, "an object");
    for (const auto& [name, value] : fields.items()) {
      const std::string key = kSection + "." + name;
      if (const Option* option = find_option_by_key(key)) {
        read_option(*option, key, value);
        continue;
      }
      if (!is_peft_field(name)) {
        fail("{}: unknown key{}: trireme train --help lists the options", where(key),
             did_you_mean(name, peft_fields()));
      }
      const std::string reason = peft_field_refusal(name, value, PeftFile::kRunConfig);
      if (!reason.empty()) fail("{}: {}", where(key), reason);
    }
  }

  static bool takes_numbers(const std::string& key) { return key.ends_with("layers_to_transform"); }

  // ["q_proj", "v_proj"] -> "q_proj,v_proj", or [0, 1] -> "0,1" where numbers are expected.
  std::string joined(const std::string& key, const Json& list) const {
    const bool numbers = takes_numbers(key);
    std::string text;
    for (const Json& item : list) {
      if (numbers ? !item.is_number_integer() : !item.is_string()) {
        refuse_value(key, list, numbers ? "a list of numbers" : "a list of names");
      }
      const std::string one = numbers ? json_text(item) : item.get<std::string>();
      // PEFT takes the names of a list as they are.
      if (is_pattern(one)) {
        fail("{}: '{}' is no name: a regular expression stands alone, without a list", where(key),
             one);
      }
      text += (text.empty() ? "" : ",") + one;
    }
    return text;
  }

  void read_option(const Option& option, const std::string& key, const Json& value) {
    if (value.is_null()) return;
    note_given(option, key);
    const bool number = value.is_number_integer() && takes_numbers(key);
    if (option.list && (value.is_array() || number)) {
      const Json list = value.is_array() ? value : Json::array({value});
      return set_option(run_, option, joined(key, list), where(key));
    }
    if (option.object && !value.is_string()) {
      if (!value.is_object()) refuse_value(key, value, "an object");
      return set_option(run_, option, json_text(value), where(key));
    }
    const bool text = std::holds_alternative<std::string RunConfig::*>(option.field) ||
                      std::holds_alternative<ChoiceField>(option.field);
    const bool flag = std::holds_alternative<bool RunConfig::*>(option.field);
    if (text && !value.is_string()) refuse_value(key, value, "a string");
    if (flag && !value.is_boolean()) refuse_value(key, value, "true or false");
    if (!text && !flag && !value.is_number()) refuse_value(key, value, "a number");
    set_option(run_, option, text ? value.get<std::string>() : json_text(value), where(key));
  }

  void read_ablations(const Json& values) {
    for (const auto& [name, value] : values.items()) {
      const std::string key = "ablation_configs." + name;
      if (!value.is_object()) refuse_value(key, value, "an object");
      const Ablation ablation = read_ablation(name, key, value);
      const auto known = std::ranges::find(ablations_, name, &Ablation::name);
      if (known == ablations_.end()) {
        ablations_.push_back(ablation);
      } else {
        *known = ablation;
      }
    }
  }

  Ablation read_ablation(const std::string& name, const std::string& key, const Json& value) const {
    static const std::vector<std::string> known = {"use_profile", "use_history", "use_context",
                                                   "name"};
    for (const auto& [part, setting] : value.items()) {
      const std::string path = key + "." + part;
      if (std::ranges::find(known, part) == known.end()) {
        fail("{}: unknown key{}", where(path), did_you_mean(part, known));
      }
      if (part == "name" && !setting.is_string()) refuse_value(path, setting, "a string");
      if (part != "name" && !setting.is_boolean()) refuse_value(path, setting, "true or false");
    }
    for (const std::string& part : known) {
      if (part != "name" && !value.contains(part)) fail("{}: {} is missing", where(key), part);
    }
    return {.name = name,
            .use_profile = value["use_profile"].get<bool>(),
            .use_history = value["use_history"].get<bool>(),
            .use_context = value["use_context"].get<bool>()};
  }

  const std::string& name_;
  RunConfig& run_;
  std::vector<Ablation>& ablations_;
  KeyPlaces places_;
  std::vector<const Option*> given_;
};

}  // namespace

std::vector<Ablation> built_in_ablations() {
  return {{"profile_and_history_and_context", true, true, true},
          {"profile_and_history", true, true, false},
          {"profile_and_context", true, false, true},
          {"history_and_context", false, true, true},
          {"profile_only", true, false, false},
          {"history_only", false, true, false},
          {"context_only", false, false, true},
          {"baseline", false, false, false}};
}

void parse_run_config(std::string_view text, const std::string& name, RunConfig& run,
                      std::vector<Ablation>& ablations) {
  Reader(name, run, ablations).read(text);
}

void read_run_config(const std::string& path, RunConfig& run, std::vector<Ablation>& ablations) {
  parse_run_config(read_text(path, kLongestByHand), path, run, ablations);
}

}  // namespace trireme::config
