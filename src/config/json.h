// JSON as people write it: `//` comments are allowed; a real error names file, line, column and what was expected.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace trireme::config {

using Json = nlohmann::ordered_json;  // keeps the order of keys, so that a rewritten file stays readable

// `name` is the file's name for messages. Throws UserError "name:line:column: ...". Duplicate keys are an error.
Json parse_json(std::string_view text, const std::string& name);

// Reads and parses a file. Throws UserError when it cannot be read or parsed.
Json read_json(const std::string& path);

}  // namespace trireme::config
