#include "data/json_types.h"

#include "base/error.h"
#include "config/model_spec_keys.h"
#include "data/unicode.h"

namespace trireme::data {

using config::Json;

std::string type_of(const Json& json) {
  if (!json.is_object() || !json.contains("type") || !json["type"].is_string()) return "";
  return json["type"].get<std::string>();
}

const Json& list_of(const Json& json, const char* key, const std::string& file,
                    std::string_view part) {
  if (!json.contains(key) || !json[key].is_array()) {
    fail("{}: {} Sequence has no list of {}", file, part, key);
  }
  return json[key];
}

std::string pattern_string(const Json& json, const std::string& file, std::string_view part) {
  const Json pattern = json.value("pattern", Json());
  const Json text = pattern.is_object() ? pattern.value("String", Json()) : Json();
  if (!text.is_string() || text.get<std::string>().empty()) {
    fail("{}: {} has the pattern {}: only a String is supported", file, part,
         config::json_text(pattern));
  }
  return text.get<std::string>();
}

std::string metaspace_replacement(const Json& json, const std::string& file) {
  const std::string replacement = config::Keys(json, file, "Metaspace.").text("replacement");
  size_t end = 0;
  if (!replacement.empty()) next_code_point(replacement, end);
  if (end == 0 || end != replacement.size()) {
    fail("{}: Metaspace.replacement is '{}': one character is expected", file, replacement);
  }
  return replacement;
}

// Older files have add_prefix_space; false goes with "never" only, as in the reference.
std::string metaspace_scheme(const Json& json, const std::string& file) {
  const config::Keys keys(json, file, "Metaspace.");
  const std::string scheme = keys.text_or("prepend_scheme", "always");
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    fail("{}: Metaspace.prepend_scheme is '{}': known are always, first, never", file, scheme);
  }
  if (scheme != "never" && !keys.flag_or("add_prefix_space", true)) {
    fail("{}: Metaspace.add_prefix_space is false beside prepend_scheme '{}': use 'never'", file,
         scheme);
  }
  return scheme;
}

}  // namespace trireme::data
