// What trireme writes into each folder that it publishes, trireme.json: who wrote it, and the names
// of its files. A folder is recognised as ours by it, never by a name.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/file.h"

namespace trireme::io {

// By which a file is known again.
struct FileSum {
  uint64_t bytes = 0;
  std::string hash;  // io/hash.h

  bool operator==(const FileSum&) const = default;
};

struct Manifest {
  std::string version, commit;                // of the program
  std::string kind;                           // "model" or "adapter"
  std::string run;                            // random, one for each run of the program
  std::map<std::string, FileSum> files = {};  // by path in the folder, without trireme.json itself
  bool temporary = false;                     // still being filled
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

// What is wrong with a listed file, in words: "is missing", "has 5 bytes, not 7", "was changed".
// "" where it is as it was written. Large files are only measured, unless `all` is to be read.
std::string damage(const std::string& path, const FileSum& sum, bool all);

// The same for the files of a folder's manifest, each with its name; of `shares` equal parts of
// them only that one.
std::string damage(const std::string& folder, const Manifest& manifest, bool all, int64_t share = 0,
                   int64_t shares = 1);

// Whether a file lies there itself, no link to one.
bool is_plain_file(const std::string& path);

// 16 random hexadecimal digits: the name of a run.
std::string random_name();

}  // namespace trireme::io
