#include "io/manifest.h"

#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "config/json.h"
#include "io/hash.h"
#include "io/posix.h"

namespace trireme::io {
namespace {

namespace fs = std::filesystem;
using config::Json;

std::string text_at(const Json& json, const char* key, bool required = true) {
  if (!json.contains(key) && !required) return "";
  if (!json.contains(key) || !json[key].is_string()) fail("{}: expected a text", key);
  return json[key].get<std::string>();
}

FileSum file_sum(const Json& json, const std::string& name) {
  if (!json.is_object() || !json.contains("bytes") || !json["bytes"].is_number_unsigned()) {
    fail("files: {}: expected its bytes and hash", name);
  }
  return {json["bytes"].get<uint64_t>(), text_at(json, "hash")};
}

// A path of another folder is none that a manifest of ours lists.
std::string file_name(const std::string& name) {
  const fs::path path = name;
  if (path.empty() || path.is_absolute() || std::ranges::find(path, "..") != path.end()) {
    fail("files: {}: expected a path in the folder", path.string());
  }
  return path.string();
}

Manifest parse(const Json& json) {
  if (!json.is_object() || !json.contains("trireme") || !json["trireme"].is_object()) {
    fail("not ours");
  }
  if (!json.contains("files") || !json["files"].is_object()) fail("files: expected an object");
  Manifest manifest{.version = text_at(json["trireme"], "version"),
                    .commit = text_at(json["trireme"], "commit"),
                    .kind = text_at(json, "kind"),
                    .run = text_at(json, "run"),
                    .files = {},
                    .temporary = json.contains("temporary"),
                    .was = text_at(json, "was", /*required=*/false)};
  for (const auto& [name, sum] : json["files"].items()) {
    manifest.files.emplace(file_name(name), file_sum(sum, name));
  }
  return manifest;
}

}  // namespace

std::string manifest_text(const Manifest& manifest) {
  Json json = {{"trireme", {{"version", manifest.version}, {"commit", manifest.commit}}},
               {"kind", manifest.kind},
               {"run", manifest.run}};
  if (manifest.temporary) json["temporary"] = true;
  if (!manifest.was.empty()) json["was"] = manifest.was;
  json["files"] = Json::object();
  for (const auto& [name, sum] : manifest.files) {
    json["files"][name] = {{"bytes", sum.bytes}, {"hash", sum.hash}};
  }
  return config::json_text(json, 2) + "\n";
}

bool is_plain_file(const std::string& path) {
  struct stat status;
  return ::lstat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

std::optional<Manifest> read_manifest(const std::string& folder) {
  const std::string path = folder + "/" + kManifest;
  if (!is_plain_file(path)) return std::nullopt;
  try {
    return parse(config::parse_json(config::read_text(path, config::kLongestByHand), path));
  } catch (const UserError&) {
    return std::nullopt;  // another program's
  }
}

std::string damage(const std::string& path, const FileSum& sum, bool all) {
  constexpr uint64_t kSmall = uint64_t{1} << 20;
  if (!is_plain_file(path)) return "is missing";
  std::error_code error;
  const uint64_t bytes = fs::file_size(path, error);
  if (error) return "cannot be read";
  if (bytes != sum.bytes) return fmt::format("has {} bytes, not {}", bytes, sum.bytes);
  if (!all && bytes > kSmall) return "";
  return hash_of_file(path) == sum.hash ? "" : "was changed";
}

std::string damage(const std::string& folder, const Manifest& manifest, bool all, int64_t share,
                   int64_t shares) {
  int64_t index = 0;
  for (const auto& [name, sum] : manifest.files) {
    if (index++ % shares != share) continue;
    const std::string why = damage(folder + "/" + name, sum, all);
    if (!why.empty()) return fmt::format("{} {}", name, why);
  }
  return "";
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator item(folder, error);
  for (; !error && item != fs::directory_iterator(); item.increment(error)) {
    names.push_back(item->path().filename());
  }
  if (error) fail_errno(folder, "list it", error.value());
  std::ranges::sort(names);
  return names;
}

std::vector<std::string> names_below(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  fs::recursive_directory_iterator item(folder, error);
  for (; !error && item != fs::recursive_directory_iterator(); item.increment(error)) {
    const fs::file_status status = item->symlink_status(error);
    if (error) break;
    if (fs::is_directory(status) && !fs::is_empty(item->path(), error)) continue;
    names.push_back(item->path().lexically_relative(folder).string());
  }
  if (error) fail_errno(folder, "list it", error.value());
  std::ranges::sort(names);
  return names;
}

std::string random_name() {
  uint64_t bits = 0;
  TRIREME_CHECK(::getrandom(&bits, sizeof bits, 0) == sizeof bits);
  return fmt::format("{:016x}", bits);
}

}  // namespace trireme::io
