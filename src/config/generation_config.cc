#include "config/generation_config.h"

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "base/error.h"
#include "config/folder_keys.h"
#include "config/json.h"
#include "config/model_spec_keys.h"
#include "config/schema.h"

namespace trireme::config {
namespace {

bool does_nothing(const ModelKey& row, const Json& value) {
  static const Json kNothing[] = {false, 0};
  return std::ranges::find(kNothing, value) != std::end(kNothing) || is_neutral(row, value);
}

std::string shown(const std::string& key, const Json& value) {
  return key + " " + json_text(value);
}

}  // namespace

std::optional<GenerationConfig> read_generation_config(const std::string& folder, RunConfig& run) {
  const std::string path = folder + "/generation_config.json";
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return std::nullopt;
  const Json json = read_json(path);
  if (!json.is_object()) fail("{}: expected an object, found {}", path, json.type_name());
  const Keys keys(json, path);
  GenerationConfig config;
  config.eos_ids = keys.ids("eos_token_id");
  const bool greedy = keys.has("do_sample") && !keys.flag_or("do_sample", true);
  for (const auto& [key, value] : json.items()) {
    const ModelKey* row = find_key(generation_keys(), key);
    const Option* option =
        row != nullptr && row->fate == ModelKeyFate::kUsed ? find_option(key) : nullptr;
    if (row == nullptr) {
      if (!is_nothing(value)) config.unknown.push_back(shown(shortened(key, 60), value));
    } else if (row->fate == ModelKeyFate::kNeutral) {
      if (!does_nothing(*row, value)) config.not_used.push_back(shown(key, value));
    } else if (option != nullptr && !value.is_null() && !run.given.contains(key) &&
               !(greedy && key == "temperature")) {
      set_option(run, *option, json_text(value), path + ": " + key);
      config.used.push_back(shown(key, value));
    }
  }
  if (greedy && !run.given.contains("temperature")) {
    set_option(run, *find_option("temperature"), "0", path + ": do_sample");
    config.used.emplace_back("do_sample false");
  }
  return config;
}

}  // namespace trireme::config
