#include "run/same_on_all_ranks.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "base/error.h"
#include "base/version.h"
#include "config/json.h"
#include "dist/gather_texts.h"
#include "io/hash.h"

namespace trireme::run {
namespace {

namespace fs = std::filesystem;

using config::Json;
using config::MustMatch;

using io::Hash;

constexpr uint64_t kPage = 4096, kPages = 16;

// The bytes [begin, begin + size) of the file, as far as it has them.
void add_bytes(Hash& hash, std::ifstream& file, uint64_t begin, uint64_t size) {
  std::string piece(std::min<uint64_t>(size, 1 << 20), '\0');
  file.clear();
  file.seekg(static_cast<std::streamoff>(begin));
  while (size > 0 && file.good()) {
    file.read(piece.data(), static_cast<std::streamsize>(std::min<uint64_t>(size, piece.size())));
    hash.add(std::string_view(piece).substr(0, static_cast<size_t>(file.gcount())));
    size -= static_cast<uint64_t>(file.gcount());
  }
}

// Weights are too large to read: their header, and pages spread over the numbers behind it. Other
// weights differ in nearly all of them.
void add_weights(Hash& hash, std::ifstream& file, uint64_t size) {
  uint64_t header = 0;
  file.read(reinterpret_cast<char*>(&header), sizeof header);
  header = std::min(size, sizeof header + std::min(header, size));
  add_bytes(hash, file, 0, header);
  const uint64_t last = size - std::min(size - header, kPage);
  for (uint64_t i = 0; i < kPages; ++i) {
    add_bytes(hash, file, header + (last - header) * i / (kPages - 1), kPage);
  }
}

}  // namespace

// Unreadable files are reported by their reader, not here.
std::string content_mark(const std::string& name) {
  const fs::path path = name;
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return "no regular file";  // a pipe would be waited for
  const uint64_t size = fs::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file) return "a file that cannot be read";
  Hash hash;
  if (path.extension() == ".safetensors") {
    add_weights(hash, file, size);
  } else {
    add_bytes(hash, file, 0, size);
  }
  return fmt::format("a file of {} bytes with hash {}", size, hash.text());
}

namespace {

// What a rank reads of a folder: weights, and files of these kinds.
bool is_read(const fs::path& path) {
  static const std::set<std::string> kKinds = {".json", ".jinja", ".txt", ".csv", ".safetensors"};
  return kKinds.contains(path.extension().string());
}

// What a path of an option leads to, a line a file: {"--model: config.json": "a file of ..."}.
void add_content(const std::string& option, const std::string& path, Json& json) {
  std::error_code error;
  if (path.empty()) {
    json[option] = "none";
  } else if (fs::is_directory(path, error)) {
    json[option] = "a folder";
    fs::directory_iterator item(path, error);
    for (; !error && item != fs::directory_iterator(); item.increment(error)) {
      if (!is_read(item->path())) continue;
      json[fmt::format("{}: {}", option, item->path().filename().string())] =
          content_mark(item->path().string());
    }
  } else if (!fs::exists(path, error)) {
    json[option] = fmt::format("'{}', where nothing is", path);  // --chat_template takes names too
  } else {
    json[option] = content_mark(path);
  }
}

// {"--max_length": "2048", "--model: config.json": "a file of ..."}
Json values_to_match(const config::RunConfig& run, config::Verb verb) {
  Json json = Json::object();
  for (const config::Option& option : config::schema()) {
    if ((option.verbs & verb) == 0 || option.must_match == MustMatch::kNothing) continue;
    const std::string name = "--" + option.name, value = option_text(run, option);
    if (option.must_match == MustMatch::kContent) {
      add_content(name, value, json);
    } else {
      json[name] = value;
    }
  }
  const Json options = config::to_json(run, verb);
  if (options.contains("ablation")) json["the ablation"] = config::json_text(options["ablation"]);
  json["the program"] = fmt::format("version {} of commit {}", version(), commit());
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
    by_value[values[i].value(name, "not there")].push_back(ranks[i]);
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
  std::set<std::string> names;
  for (const std::string& text : dist::gather_texts(config::json_text(mine), group)) {
    all.push_back(config::parse_json(text, "what a rank was given"));
    for (const auto& [name, value] : all.back().items()) names.insert(name);
  }
  for (const std::string& name : names) {
    const std::string found = difference(name, all, group.ranks());
    if (!found.empty()) fail("{}: start all ranks with the same options and files", found);
  }
}

}  // namespace trireme::run
