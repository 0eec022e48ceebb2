// What the parts of a tokenizer.json (normalizer, pre-tokenizer, decoder, post-processor) share.
#pragma once

#include <string>
#include <string_view>

#include "config/json.h"

namespace trireme::data {

// The "type" of a part: "" for what is absent or no string.
std::string type_of(const config::Json& json);

// json[key] of a Sequence; UserError where it is no list. `part` names it in the message.
const config::Json& list_of(const config::Json& json, const char* key, const std::string& file,
                            std::string_view part);

// {"pattern": {"String": "..."}}; UserError for any other, and for an empty one.
std::string pattern_string(const config::Json& json, const std::string& file,
                           std::string_view part);

// Of a Metaspace: the character that stands for a space; "always", "first" or "never".
std::string metaspace_replacement(const config::Json& json, const std::string& file);
std::string metaspace_scheme(const config::Json& json, const std::string& file);

}  // namespace trireme::data
