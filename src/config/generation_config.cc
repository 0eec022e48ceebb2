#include "config/generation_config.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <string_view>

#include "base/error.h"
#include "config/json.h"
#include "config/model_spec_keys.h"
#include "config/schema.h"

namespace trireme::config {
namespace {

constexpr std::string_view kOptions[] = {"temperature", "top_k", "top_p", "repetition_penalty",
                                         "max_new_tokens"};

// Keys that say nothing about which tokens are written, or are read elsewhere.
constexpr std::string_view kHarmless[] = {"eos_token_id",
                                          "do_sample",
                                          "bos_token_id",
                                          "pad_token_id",
                                          "_from_model_config",
                                          "transformers_version",
                                          "decoder_start_token_id",
                                          "use_cache",
                                          "cache_implementation",
                                          "cache_config",
                                          "output_scores",
                                          "output_attentions",
                                          "output_hidden_states",
                                          "output_logits",
                                          "return_dict_in_generate",
                                          "chat_format",
                                          "max_window_size",
                                          "low_memory"};

// Values with which transformers does nothing, besides null, false, 0 and the empty list.
const std::map<std::string_view, Json>& neutral() {
  static const std::map<std::string_view, Json> values = {
      {"num_beams", 1},      {"num_return_sequences", 1}, {"typical_p", 1.0},
      {"top_h", 1.0},        {"length_penalty", 1.0},     {"encoder_repetition_penalty", 1.0},
      {"guidance_scale", 1}, {"num_beam_groups", 1}};
  return values;
}

bool does_nothing(const std::string& key, const Json& value) {
  if (value.is_null() || value == false || value == 0 || value == Json::array()) return true;
  const auto found = neutral().find(key);
  return found != neutral().end() && found->second == value;
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
    if (std::ranges::find(kOptions, key) == std::end(kOptions)) {
      const bool harmless = std::ranges::find(kHarmless, key) != std::end(kHarmless);
      if (!harmless && !does_nothing(key, value)) config.not_used.push_back(shown(key, value));
    } else if (!value.is_null() && !run.given.contains(key) && !(greedy && key == "temperature")) {
      set_option(run, *find_option(key), json_text(value), path + ": " + key);
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
