// JSON as people write it: `//` and `/* */` comments are allowed; a real error names file, line,
// column and what was expected. Lines and columns count from 1, columns in characters. Time and
// memory are linear in the text, whatever it holds.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "config/key_places.h"

namespace trireme::config {

using Json = nlohmann::ordered_json;  // keeps the order of keys: a rewritten file stays readable

// Deeper text is refused. What walks over a tree, nlohmann's dump() too, takes a frame of the stack
// for each level.
constexpr int64_t kDeepestJson = 100;
// The longest file that read_json takes: the index of the largest model is half as long.
constexpr uint64_t kLongestJson = uint64_t{64} << 20;
// The longest text of a file that people write: a run config, a DeepSpeed JSON, an adapter's
// configuration.
constexpr uint64_t kLongestByHand = uint64_t{1} << 20;

// `name` is the file's name for messages. Throws UserError "name:line:column: ..." when the text is
// not JSON, is empty, nests too deeply, or gives a key twice in one object. Fills `places` where
// given.
Json parse_json(std::string_view text, const std::string& name, KeyPlaces* places = nullptr);

// Throws UserError when the text is longer than kLongestByHand.
void require_written_by_hand(std::string_view text, const std::string& name);

// The file's bytes. Throws UserError when it is missing, a folder, no regular file (a pipe, a
// device), longer than `most` bytes, or cannot be read.
std::string read_text(const std::string& path, uint64_t most = kLongestJson);

// Reads and parses a file. Throws UserError when it cannot be read or parsed.
Json read_json(const std::string& path);

// The JSON as text. Bytes of strings that are not UTF-8 (of a file's name) become U+FFFD, where
// dump() would throw.
std::string json_text(const Json& json, int indent = -1);

// The value where it is a whole number, written as one, in [least, most]: get<int64_t>() would cut
// 1.9 and wrap 2^64 - 1.
std::optional<int64_t> whole_number(const Json& json, int64_t least, int64_t most);

}  // namespace trireme::config
