#include "io/weight_files.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "config/folder_kind.h"
#include "config/json.h"
#include "io/posix.h"
#include "io/weight_names.h"

namespace trireme::io {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

std::string join(const std::string& folder, const std::string& name) {
  return (fs::path(folder) / name).string();
}

void check_model_folder(const std::string& folder) {
  const Kind kind = kind_of(folder);
  if (kind == Kind::kNothing) {
    fail("{}: no such folder: give the path of a downloaded Hugging Face model", folder);
  }
  if (kind != Kind::kFolder) fail("{}: a file: give the folder of a Hugging Face model", folder);
  if (kind_of(join(folder, "config.json")) != Kind::kFile) {
    fail("{}: not a Hugging Face model folder: it has no config.json", folder);
  }
}

// The first name in the folder, in alphabetical order, that ends so and is none of `others`; ""
// when none does.
std::string first_ending(const std::string& folder, std::string_view ending,
                         const std::set<std::string>& others = {}) {
  std::set<std::string> names;
  std::error_code error;
  fs::directory_iterator item(folder, error);
  for (; !error && item != fs::directory_iterator(); item.increment(error)) {
    const std::string name = item->path().filename().string();
    if (name.ends_with(ending) && !others.contains(name)) names.insert(name);
  }
  if (error) fail_errno(folder, "list it", error.value());
  return names.empty() ? "" : *names.begin();
}

[[noreturn]] void fail_without_weights(const std::string& folder) {
  const std::string shard = first_ending(folder, ".safetensors");
  if (shard.starts_with("model")) {
    fail("{}: has {} but neither {} nor {}: download the missing file", folder, shard, kSingle,
         kIndex);
  }
  const std::string other = config::other_folder(folder);
  fail("{}: no weights: neither {} nor {} is there{}{}", folder, kSingle, kIndex,
       other.empty() ? "" : ": ", other);
}

// A shard must be a file of the folder: an index must not make us read others.
void check_shard_name(const std::string& index, const std::string& tensor,
                      const std::string& name) {
  const bool plain = name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
  if (plain && name.ends_with(".safetensors")) return;
  fail("{}: weight_map: tensor {}: {} is not a plain name of a .safetensors file", index, tensor,
       name);
}

std::map<std::string, std::string> read_weight_map(const std::string& path) {
  const config::Json index = config::read_json(path);
  const auto found = index.is_object() ? index.find("weight_map") : index.end();
  if (found == index.end() || !found->is_object() || found->empty()) {
    fail("{}: no weight_map {{tensor: file}} in it: download the file again", path);
  }
  std::map<std::string, std::string> weight_map;
  for (const auto& [tensor, file] : found->items()) {
    if (!file.is_string()) {
      fail("{}: weight_map: tensor {}: {} is not a file name", path, tensor,
           config::json_text(file));
    }
    check_shard_name(path, tensor, file.get<std::string>());
    weight_map.emplace(tensor, file.get<std::string>());
  }
  return weight_map;
}

// Where an index names files that are not there: which, for how many tensors, and what is there
// instead.
void check_shards(const std::string& folder, const std::map<std::string, std::string>& weight_map,
                  const std::set<std::string>& shards) {
  std::set<std::string> missing;
  for (const std::string& shard : shards) {
    if (kind_of(join(folder, shard)) == Kind::kNothing) missing.insert(shard);
  }
  if (missing.empty()) return;
  const auto tensors = std::ranges::count_if(
      weight_map, [&](const auto& item) { return missing.contains(item.second); });
  constexpr size_t kNamed = 4;
  const std::vector<std::string> named(
      missing.begin(), std::next(missing.begin(), std::min(kNamed, missing.size())));
  const std::string stray = first_ending(folder, ".safetensors", shards);
  fail("{}: {} {}{} missing, {} names {} files with {} tensors, of which {} are missing: {}",
       folder, missing.size() == 1 ? "shard" : "shards", fmt::format("{}", fmt::join(named, ", ")),
       missing.size() == 1        ? " is"
       : missing.size() <= kNamed ? " are"
                                  : fmt::format(" and {} others are", missing.size() - kNamed),
       kIndex, shards.size(), weight_map.size(), tensors,
       stray.empty() ? "download what is missing"
                     : "it does not name " + stray +
                           ", which is there: the index is of another model, download it again");
}

}  // namespace

WeightFiles::WeightFiles(const std::string& folder) : folder_(folder) {
  check_model_folder(folder);
  if (kind_of(join(folder, kSingle)) == Kind::kFile) {
    files_.emplace_back(join(folder, kSingle));
    add_tensors(files_.front());
    return;
  }
  const std::string index = join(folder, kIndex);
  if (kind_of(index) != Kind::kFile) fail_without_weights(folder);
  const WeightMap weight_map = read_weight_map(index);
  open_shards(weight_map);
  for (const SafetensorsFile& file : files_) add_tensors(file);
  check_index(weight_map);
}

void WeightFiles::open_shards(const WeightMap& weight_map) {
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : weight_map) shards.insert(shard);
  check_shards(folder_, weight_map, shards);
  files_.reserve(shards.size());
  for (const std::string& shard : shards) files_.emplace_back(join(folder_, shard));
}

void WeightFiles::add_tensors(const SafetensorsFile& file) {
  for (const auto& [name, entry] : file.entries()) {
    const auto [at, added] = tensors_.emplace(name, Located{&file, &entry, name, {}});
    if (!added) {
      fail("{}: tensor {} is in {} too: remove one of them", file.path(), name,
           at->second.file->path());
    }
  }
}

void WeightFiles::check_index(const WeightMap& weight_map) const {
  for (const auto& [name, shard] : weight_map) {
    const Located* located = find(name);
    if (located == nullptr || located->file->path() != join(folder_, shard)) {
      fail("{}: tensor {} is not in shard {}, where {} has it: download both again", folder_, name,
           shard, kIndex);
    }
  }
  for (const auto& [name, located] : tensors_) {
    if (!weight_map.contains(name)) {
      fail("{}: tensor {} is not in {}: download both again", located.file->path(), name, kIndex);
    }
  }
}

const WeightFiles::Located* WeightFiles::find(const std::string& name) const {
  const auto at = tensors_.find(name);
  return at == tensors_.end() ? nullptr : &at->second;
}

void WeightFiles::rename(const std::string& from, const std::string& to) {
  auto node = tensors_.extract(from);
  TRIREME_CHECK(!node.empty() && !tensors_.contains(to), "{} to {}", from, to);
  node.key() = to;
  tensors_.insert(std::move(node));
}

const WeightFiles::Located* WeightFiles::use_standard_names() {
  std::vector<std::string> stored;
  for (const auto& [name, located] : tensors_) stored.push_back(name);
  const auto renamed = standard_names(stored, folder_);
  if (renamed.empty()) return nullptr;
  std::map<std::string, Located> tensors;
  for (auto& [name, located] : tensors_) {
    const auto found = renamed.find(name);
    tensors.emplace(found == renamed.end() ? name : found->second, std::move(located));
  }
  tensors_ = std::move(tensors);
  return find(renamed.begin()->second);
}

int64_t WeightFiles::join_scales(config::Fp8Blocks blocks) {
  static constexpr std::string_view kEnd = "_scale_inv";
  return static_cast<int64_t>(std::erase_if(tensors_, [&](const auto& item) {
    const auto& [name, scales] = item;
    if (!name.ends_with(kEnd)) return false;
    const auto at = tensors_.find(name.substr(0, name.size() - kEnd.size()));
    if (at == tensors_.end() || at->second.entry->dtype != DType::kF8E4M3) return false;
    at->second.scales = Scales{scales.file, scales.entry, blocks};
    return true;
  }));
}

int64_t WeightFiles::total_bytes() const {
  uint64_t total = 0;
  for (const auto& [name, located] : tensors_) total += located.entry->end - located.entry->begin;
  return static_cast<int64_t>(total);
}

}  // namespace trireme::io
