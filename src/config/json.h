// JSON as people write it: `//` and `/* */` comments are allowed; a real error names file, line,
// column and what was expected. Lines and columns count from 1, columns in characters.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace trireme::config {

using Json = nlohmann::ordered_json;  // keeps the order of keys: a rewritten file stays readable

// "line:column" of each key by its path from the root ("training.max_length"); list elements have
// no index in the path, and the first of equal paths is kept.
using KeyPlaces = std::map<std::string, std::string>;

// `name` is the file's name for messages. Throws UserError "name:line:column: ..." when the text is
// not JSON, is empty, or gives a key twice in one object. Fills `places` where given.
Json parse_json(std::string_view text, const std::string& name, KeyPlaces* places = nullptr);

// The file's bytes. Throws UserError when it is missing, a folder, or cannot be read.
std::string read_text(const std::string& path);

// Reads and parses a file. Throws UserError when it cannot be read or parsed.
Json read_json(const std::string& path);

}  // namespace trireme::config
