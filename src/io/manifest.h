// What trireme writes into each folder that it publishes, trireme.json: who wrote it, and the names
// of its files. A folder is recognised as ours by it, never by a name.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "io/file.h"

namespace trireme::io {

struct Manifest {
  std::string version, commit;          // of the program
  std::string kind;                     // "model" or "adapter"
  std::string run;                      // random, one for each run of the program
  std::vector<std::string> files = {};  // paths in the folder, sorted, without trireme.json itself
  bool temporary = false;               // still being filled
  std::string was = {};  // the final name of a folder that was set aside for a moment
};

inline constexpr const char* kManifest = "trireme.json";
// How every JSON file begins that says that we wrote it: this one and run.json.
inline constexpr std::string_view kJsonMark = "{\n  \"trireme\": {";

std::string manifest_text(const Manifest& manifest);

// The folder's manifest; nullopt where it has none, or one that is not ours.
std::optional<Manifest> read_manifest(const std::string& folder);

// Names in a folder, sorted. UserError: it cannot be listed.
std::vector<std::string> names_in(const std::string& folder);
// Paths of all files and empty folders below, sorted. UserError: it cannot be listed.
std::vector<std::string> names_below(const std::string& folder);

// Whether a file lies there itself, no link to one.
bool is_plain_file(const std::string& path);

// 16 random hexadecimal digits: the name of a run.
std::string random_name();

}  // namespace trireme::io
