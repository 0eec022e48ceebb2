// The order is that of transformers 5's PreTrainedTokenizerBase._from_pretrained: where
// tokenizer_config.json has no added_tokens_decoder, special_tokens_map.json and added_tokens.json
// count.
#include "data/tokenizer_config.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <limits>

#include "base/error.h"
#include "config/model_spec.h"
#include "config/model_spec_keys.h"

namespace trireme::data {
namespace {

using config::Json;
using config::Keys;

constexpr int64_t kLargestId = std::numeric_limits<int32_t>::max();

constexpr const char* kNames[] = {"bos_token",
                                  "eos_token",
                                  "unk_token",
                                  "sep_token",
                                  "pad_token",
                                  "cls_token",
                                  "mask_token",
                                  "extra_special_tokens",
                                  "additional_special_tokens"};

int64_t id_of_key(const std::string& key, const std::string& path) {
  int64_t id = -1;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
  if (error != std::errc() || end != key.data() + key.size() || id < 0 || id > kLargestId) {
    fail("{}: added_tokens_decoder has the key '{}': ids are integers from 0", path, key);
  }
  return id;
}

// A special token by name: a string, or an object with content and flags.
AddedToken special_token(const Json& json, const std::string& path, const std::string& key) {
  AddedToken token;
  if (json.is_string()) {
    token.content = json.get<std::string>();
  } else if (json.is_object()) {
    token = read_added_token(json, path, key + ".");
  } else {
    fail("{}: {} is {}: a string or an object is expected", path, key, config::json_text(json));
  }
  token.special = true;
  return token;
}

// Later files overwrite earlier ones, key by key.
void read_named(const Json& json, const std::string& path, std::map<std::string, Json>& named) {
  for (const char* key :
       {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
        "extra_special_tokens", "additional_special_tokens"}) {
    const Json value = json.value(key, Json());
    if (value.is_null()) continue;
    if (value.is_array() || std::string_view(key).find("special_tokens") == std::string::npos) {
      named[key] = value;
    } else if (value.is_object()) {  // names of the model's own
      named[key] = Json::array();
      for (const auto& [name, token] : value.items()) named[key].push_back(token);
    } else {
      fail("{}: {} is {}: a list is expected", path, key, config::json_text(value));
    }
  }
}

// {"token": id}
void read_added_tokens(const std::string& path, TokenizerConfig& config) {
  const Json json = read_object_if_there(path);
  const Keys keys(json, path);
  for (const auto& [content, id] : json.items()) {
    AddedToken token;
    token.content = content;
    token.special =
        std::ranges::find(config.named, content, &AddedToken::content) != config.named.end();
    token.normalized = !token.special;
    config.listed[keys.integer(content.c_str(), 0, kLargestId)] = token;
  }
}

// "image_token": a name of the model's own for a special token.
bool is_own_name(const std::string& key, const Json& value) {
  return key.ends_with("_token") && value.is_string() &&
         std::ranges::find(kNames, key) == std::end(kNames);
}

// New tokens get their ids in this order.
std::vector<std::string> names_in_order(const Json& settings) {
  std::vector<std::string> names(std::begin(kNames), std::end(kNames));
  const auto lists = std::ranges::find(names, "extra_special_tokens");
  std::vector<std::string> own;
  for (const auto& [key, value] : settings.items()) {
    if (is_own_name(key, value)) own.push_back(key);
  }
  names.insert(lists, own.begin(), own.end());
  return names;
}

}  // namespace

Json read_object_if_there(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return Json::object();
  Json json = config::parse_json(config::with_tagged_floats(config::read_text(path)), path);
  if (!json.is_object()) fail("{}: expected an object, found {}", path, json.type_name());
  return json;
}

AddedToken read_added_token(const Json& json, const std::string& path, const std::string& prefix) {
  const Keys keys(json, path, prefix);
  AddedToken token;
  token.content = keys.text("content");
  token.lstrip = keys.flag_or("lstrip", false);
  token.rstrip = keys.flag_or("rstrip", false);
  token.single_word = keys.flag_or("single_word", false);
  token.special = keys.flag_or("special", false);
  token.normalized = keys.flag_or("normalized", !token.special);
  return token;
}

TokenizerConfig read_tokenizer_config(const std::string& folder, const Json& settings,
                                      const Json& by_default) {
  TokenizerConfig config;
  config.path = folder + "/tokenizer_config.json";
  std::map<std::string, Json> named;
  for (const auto& [key, token] : by_default.items()) {
    if (!settings.contains(key)) named[key] = token;
  }
  read_named(settings, config.path, named);
  for (const auto& [key, value] : settings.items()) {
    if (is_own_name(key, value)) named[key] = value;
  }
  const Keys keys(settings, config.path);
  const Json* decoder = keys.find("added_tokens_decoder");
  config.lists_all = decoder != nullptr;
  if (decoder == nullptr) {
    const std::string map = folder + "/special_tokens_map.json";
    read_named(read_object_if_there(map), map, named);
  } else if (!decoder->is_object()) {
    fail("{}: added_tokens_decoder is no object", config.path);
  } else {
    for (const auto& [key, token] : decoder->items()) {
      const std::string place = "added_tokens_decoder." + key;
      if (!token.is_object()) fail("{}: {} is no object", config.path, place);
      config.listed[id_of_key(key, config.path)] =
          read_added_token(token, config.path, place + ".");
    }
  }
  for (const std::string& key : names_in_order(settings)) {
    const Json value = named[key];
    if (value.is_null()) continue;
    const Json list = value.is_array() ? value : Json::array({value});
    for (const Json& token : list) config.named.push_back(special_token(token, config.path, key));
  }
  if (decoder == nullptr) read_added_tokens(folder + "/added_tokens.json", config);
  return config;
}

}  // namespace trireme::data
