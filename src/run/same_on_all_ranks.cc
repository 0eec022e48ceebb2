#include "run/same_on_all_ranks.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/error.h"
#include "config/json.h"
#include "dist/gather_texts.h"

namespace trireme::run {
namespace {

using config::Json;
using config::MustMatch;

// FNV-1a, 64 bits (Fowler, Noll, Vo).
class Hash {
 public:
  void add(std::string_view bytes) {
    for (const char byte : bytes) {
      value_ = (value_ ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
    }
  }
  std::string text() const { return fmt::format("{:016x}", value_); }

 private:
  uint64_t value_ = 0xcbf29ce484222325;
};

void add_file(Hash& hash, const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string piece(1 << 20, '\0');
  while (file.read(piece.data(), std::ssize(piece)) || file.gcount() > 0) {
    hash.add({piece.data(), static_cast<size_t>(file.gcount())});
  }
}

// Describes a folder by names and sizes of its files and the content of its JSON files: weights are
// too large to read. Other kinds of files are ignored.
std::string folder_text(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string kind = entry.path().extension();
    if (kind == ".json" || kind == ".safetensors" || kind == ".csv") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  Hash hash;
  for (const std::filesystem::path& file : files) {
    hash.add(fmt::format("{} {}\n", file.filename().string(), std::filesystem::file_size(file)));
    if (file.extension() == ".json") add_file(hash, file);
  }
  return fmt::format("a folder of {} files with hash {}", files.size(), hash.text());
}

// Describes a file or folder. Unreadable files are reported by their reader, not here.
std::string content_text(const std::string& path) {
  std::error_code error;
  if (path.empty()) return "none";
  if (std::filesystem::is_directory(path, error)) return folder_text(path);
  if (!std::filesystem::exists(path, error)) return "a path where nothing is";
  if (!std::filesystem::is_regular_file(path, error)) return "no regular file";
  Hash hash;
  add_file(hash, path);
  return fmt::format("a file of {} bytes with hash {}", std::filesystem::file_size(path),
                     hash.text());
}

// {"--max_length": "2048", "--model": "a folder of ..."}
Json values_to_match(const config::RunConfig& run, config::Verb verb) {
  Json json = Json::object();
  for (const config::Option& option : config::schema()) {
    if ((option.verbs & verb) == 0 || option.must_match == MustMatch::kNothing) continue;
    const std::string value = option_text(run, option);
    json["--" + option.name] =
        option.must_match == MustMatch::kContent ? content_text(value) : value;
  }
  const Json options = config::to_json(run, verb);
  if (options.contains("ablation")) json["the ablation"] = options["ablation"].dump();
  return json;
}

std::string ranks_text(const std::vector<int64_t>& ranks) {
  return fmt::format("{} {}", ranks.size() == 1 ? "rank" : "ranks", fmt::join(ranks, ", "));
}

// "--max_length is 2048 on rank 0 and 512 on ranks 1, 2"; "" if all values are equal.
std::string difference(const std::string& name, const std::vector<Json>& values,
                       const std::vector<int64_t>& ranks) {
  std::map<std::string, std::vector<int64_t>> by_value;
  for (size_t i = 0; i < values.size(); ++i) {
    by_value[values[i].value(name, "unknown")].push_back(ranks[i]);
  }
  if (by_value.size() == 1) return "";
  std::vector<std::pair<std::vector<int64_t>, std::string>> parts;
  for (const auto& [value, where] : by_value) parts.emplace_back(where, value);
  std::ranges::sort(parts);
  std::vector<std::string> texts;
  for (const auto& [where, value] : parts) {
    texts.push_back(fmt::format("{} on {}", value, ranks_text(where)));
  }
  return fmt::format("{} is {}", name, fmt::join(texts, " and "));
}

}  // namespace

void check_same_on_all_ranks(const config::RunConfig& run, config::Verb verb,
                             const dist::Group& group) {
  const Json mine = values_to_match(run, verb);
  std::vector<Json> all;
  for (const std::string& text :
       dist::gather_texts(mine.dump(-1, ' ', true, Json::error_handler_t::replace), group)) {
    all.push_back(Json::parse(text));
  }
  for (const auto& [name, value] : mine.items()) {
    const std::string found = difference(name, all, group.ranks());
    if (!found.empty()) fail("{}: start all ranks with the same options and files", found);
  }
}

}  // namespace trireme::run
