#include "data/chat_template_source.h"

#include <algorithm>
#include <filesystem>
#include <string_view>

#include "base/error.h"
#include "config/json.h"
#include "io/file.h"

namespace trireme::data {
namespace {

namespace fs = std::filesystem;
using config::Json;

constexpr std::string_view kChatMl =
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + "
    "'<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' "
    "}}{%- endif %}";
constexpr std::string_view kNone =
    "{%- for message in messages %}{{- message.content }}{%- endfor %}";

bool exists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

ChatTemplateSource from_file(const std::string& name, const std::string& path) {
  return {name, path, io::read_text(path, config::kLongestByHand)};
}

// The folder's templates, the first of a name counts.
std::vector<ChatTemplateSource> templates_of(const std::string& folder) {
  std::vector<ChatTemplateSource> found;
  const std::string own = folder + "/chat_template.jinja";
  if (exists(own)) found.push_back(from_file("default", own));
  std::error_code error;
  std::vector<std::string> more;
  fs::directory_iterator item(folder + "/additional_chat_templates", error);
  for (; !error && item != fs::directory_iterator(); item.increment(error)) {
    if (item->path().extension() == ".jinja") more.push_back(item->path().string());
  }
  std::ranges::sort(more);
  for (const std::string& path : more) {
    found.push_back(from_file(fs::path(path).stem().string(), path));
  }
  const std::string file = folder + "/tokenizer_config.json";
  if (!exists(file)) return found;
  const Json json = config::read_json(file);
  if (!json.is_object()) fail("{}: expected an object, found {}", file, json.type_name());
  const Json field = json.value("chat_template", Json());
  if (field.is_string()) found.push_back({"default", file, field.get<std::string>()});
  for (const Json& entry : field.is_array() ? field : Json::array()) {
    if (!entry.is_object()) continue;
    const Json name = entry.value("name", Json()), text = entry.value("template", Json());
    if (!name.is_string() || !text.is_string()) {
      fail("{}: chat_template: expected entries with a name and a template", file);
    }
    found.push_back({name.get<std::string>(), file, text.get<std::string>()});
  }
  return found;
}

std::string names_of(const std::vector<ChatTemplateSource>& templates) {
  std::string names = "chatml, none";
  for (const ChatTemplateSource& each : templates) {
    if (each.name != "default") names += ", " + each.name;
  }
  return names;
}

// A string, or {"content": ...}.
std::string token_text(const Json& token) {
  const Json text = token.is_object() ? token.value("content", Json()) : token;
  return text.is_string() ? text.get<std::string>() : "";
}

}  // namespace

ChatTemplateSource find_chat_template(const std::string& folder, const std::string& which) {
  const std::vector<ChatTemplateSource> own = templates_of(folder);
  const std::string name = which.empty() ? "default" : which;
  const auto found = std::ranges::find(own, name, &ChatTemplateSource::name);
  if (found != own.end()) return *found;
  if (which == "chatml") return {which, "--chat_template chatml", std::string(kChatMl)};
  if (which == "none") return {which, "--chat_template none", std::string(kNone)};
  if (which.empty()) {
    fail(
        "{}/tokenizer_config.json: no chat_template, as with base models: take the folder of an "
        "instruct model, or say --chat_template chatml (the usual one), none (plain text), or a "
        "file{}",
        folder, own.empty() ? "" : " or another of: " + names_of(own));
  }
  if (!exists(which)) {
    fail("--chat_template {}: neither a file nor one of: {}", which, names_of(own));
  }
  return from_file(which, which);
}

std::vector<std::pair<std::string, std::string>> special_tokens(const std::string& folder) {
  std::vector<std::pair<std::string, std::string>> tokens;
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const std::string file = folder + "/" + name;
    if (!exists(file)) continue;
    const Json json = config::read_json(file);
    if (!json.is_object()) fail("{}: expected an object, found {}", file, json.type_name());
    for (const char* key : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token",
                            "cls_token", "mask_token"}) {
      const std::string text = token_text(json.value(key, Json()));
      const bool known =
          std::ranges::any_of(tokens, [&](const auto& token) { return token.first == key; });
      if (!text.empty() && !known) tokens.emplace_back(key, text);
    }
  }
  return tokens;
}

}  // namespace trireme::data
