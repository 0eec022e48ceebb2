#include "io/temporary.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "io/posix.h"
#include "io/safetensors.h"

namespace trireme::io {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kInfix = ".trireme-";
constexpr size_t kDigits = 8;

std::string parent_of(const std::string& path) {
  const fs::path parent = fs::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

// The NAME of NAME.trireme-1a2b3c4d; "" for other names.
std::string final_name(const std::string& name) {
  if (name.size() <= kInfix.size() + kDigits) return "";
  const std::string stem = name.substr(0, name.size() - kInfix.size() - kDigits);
  const std::string tail = name.substr(stem.size());
  if (!tail.starts_with(kInfix)) return "";
  const std::string digits = tail.substr(kInfix.size());
  return digits.find_first_not_of("0123456789abcdef") == std::string::npos ? stem : "";
}

// One begins as the other does: a file of ours may have been cut off anywhere.
bool begin_alike(std::string_view text, std::string_view mark) {
  const size_t both = std::min(text.size(), mark.size());
  return text.substr(0, both) == mark.substr(0, both);
}

bool begins_as_ours(const std::string& path) {
  const std::string text = read_beginning(path, 128);
  const bool dumped = text.size() > sizeof(uint64_t) &&
                      begin_alike(std::string_view(text).substr(sizeof(uint64_t)), kDumpMark);
  return begin_alike(text, kJsonMark) || dumped;
}

// The manifest goes last, so that what is left after a kill is still known as ours.
void remove_folder(FileSystem& files, const std::string& path) {
  for (const std::string& name : names_in(path)) {
    if (name != kManifest) files.remove_all(path + "/" + name);
  }
  files.remove_all(path);
}

void put_back_or_remove(FileSystem& files, const std::string& path, const std::string& place) {
  const auto manifest = read_manifest(path);
  const bool set_aside = manifest && fs::path(place).filename() == manifest->was;
  if (set_aside && kind_of(place) == Kind::kNothing) {
    files.rename(path, place);
    return files.sync_folder(parent_of(place));
  }
  const Lock lock = try_lock(path);
  if (lock.state == LockState::kTaken) return discard(files, path);
  if (lock.state == LockState::kUnknown) warn("left behind by an earlier run, remove it: {}", path);
}

}  // namespace

std::string temporary_name(const std::string& path) {
  while (true) {
    const std::string name = path + std::string(kInfix) + random_name().substr(0, kDigits);
    std::error_code error;
    if (!fs::exists(fs::symlink_status(name, error))) return name;
  }
}

TemporaryFolder::TemporaryFolder(FileSystem& files, const std::string& target, Manifest manifest)
    : files_(files), path_(temporary_name(target)) {
  files_.make_folder(path_);
  lock_.emplace(try_lock(path_));
  try {
    manifest.temporary = true;
    write_text(files_, path_ + "/" + kManifest, manifest_text(manifest));
  } catch (...) {
    discard(files_, path_);
    throw;
  }
}

TemporaryFolder::~TemporaryFolder() {
  if (!kept_) discard(files_, path_);
}

void replace_file(FileSystem& files, const std::string& path,
                  const std::function<void(const std::string& temporary)>& write) {
  const std::string temporary = temporary_name(path);
  try {
    write(temporary);
    files.rename(temporary, path);
  } catch (...) {
    discard(files, temporary);
    throw;
  }
  files.sync_folder(parent_of(path));
}

void replace_text(FileSystem& files, const std::string& path, const std::string& text) {
  replace_file(files, path,
               [&](const std::string& temporary) { write_text(files, temporary, text); });
}

bool is_leftover(const std::string& path) {
  if (final_name(fs::path(path).filename()).empty()) return false;
  if (is_plain_file(path)) return begins_as_ours(path);
  std::error_code error;
  if (!fs::is_directory(fs::symlink_status(path, error))) return false;
  if (read_manifest(path)) return true;
  const std::vector<std::string> names = names_below(path);
  if (names.empty()) return true;
  // Killed while the manifest was written, which is the first file.
  return names == std::vector<std::string>{kManifest} && is_plain_file(path + "/" + kManifest) &&
         begins_as_ours(path + "/" + kManifest);
}

std::string foreign(const std::string& folder) {
  std::error_code error;
  if (!fs::is_directory(fs::symlink_status(folder, error))) return "is no folder";
  const std::vector<std::string> names = names_below(folder);
  if (names.empty()) return "";
  const std::optional<Manifest> manifest = read_manifest(folder);
  if (!manifest) return fmt::format("holds {} and no {} of ours", shown(names.front()), kManifest);
  for (const std::string& name : names) {
    if (name == kManifest) continue;
    if (const auto sum = manifest->files.find(name); sum != manifest->files.end()) {
      const std::string why = damage(folder + "/" + name, sum->second, /*all=*/false);
      if (why.empty()) continue;
      return fmt::format("holds {}, which {} since trireme wrote it", shown(name), why);
    }
    if (is_leftover(folder + "/" + name)) continue;  // killed in replacing the manifest
    return fmt::format("holds {}, which trireme did not write", shown(name));
  }
  return "";
}

void sweep(FileSystem& files, const std::string& parent, const std::string& name) {
  if (kind_of(parent) != Kind::kFolder) return;
  for (const std::string& left : names_in(parent)) {
    const std::string of = final_name(left);
    if (of.empty() || !(name.empty() || of == name) || !is_leftover(parent + "/" + left)) continue;
    put_back_or_remove(files, parent + "/" + left, parent + "/" + of);
  }
}

void retire(FileSystem& files, const std::string& folder) {
  if (const std::string why = foreign(folder); !why.empty()) {
    fail("{}: is not removed: it {}", folder, why);
  }
  const std::string aside = temporary_name(folder);
  files.rename(folder, aside);
  files.sync_folder(parent_of(folder));
  discard(files, aside);
}

void discard(FileSystem& files, const std::string& path) {
  try {
    std::error_code error;
    const fs::file_status status = fs::symlink_status(path, error);
    if (fs::is_directory(status)) return remove_folder(files, path);
    if (fs::exists(status)) files.remove_all(path);
  } catch (const UserError& error) {
    warn("left behind, remove it by hand: {}", error.what());
  }
}

}  // namespace trireme::io
