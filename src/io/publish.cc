// Publishing: fill a temporary folder, sync it, swap it with the old one, sync the parent, remove
// the old one. The old content is never touched before the new one is complete and durable under
// the final name, so that whatever operation fails or is the last before a power failure, one
// complete folder is left.
//
//   on disk                        what it means                     who repairs it
//   folder                         nothing was going on              -
//   folder, folder.tmp             body or removal did not finish    next publish removes .tmp
//   folder.old, folder.tmp         between the two renames           recover_folder puts .old back
//   folder, folder.old             removal did not finish            next publish removes .old
#include "io/publish.h"

#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "base/units.h"
#include "io/posix.h"

namespace trireme::io {
namespace {

namespace fs = std::filesystem;

bool exists(const std::string& path) { return kind_of(path) != Kind::kNothing; }

struct Names {
  std::string folder;
  std::string temporary;
  std::string old;
  std::string parent;
};

// Symbolic links are followed first: renaming a link would leave its target behind.
Names names_of(const std::string& folder) {
  std::error_code error;
  fs::path path = fs::absolute(folder, error);
  if (!error) path = fs::weakly_canonical(path, error);
  if (error) fail_errno(folder, "resolve its path", error.value());
  if (!path.has_filename()) path = path.parent_path();  // a trailing slash
  if (path == path.root_path()) fail("{}: cannot be replaced: name another folder", folder);
  const Kind kind = kind_of(path.string());
  if (kind != Kind::kNothing && kind != Kind::kFolder) {
    fail("{}: a file is in the way: remove it or name another folder", folder);
  }
  return {path.string(), path.string() + ".tmp", path.string() + ".old",
          path.parent_path().string()};
}

void recover(FileSystem& files, const Names& names) {
  if (exists(names.folder) || !exists(names.old)) return;
  files.rename(names.old, names.folder);
  files.sync_folder(names.parent);
}

void check_space(FileSystem& files, const Names& names, uint64_t bytes) {
  if (bytes == 0) return;
  const uint64_t available = files.free_bytes(names.temporary);
  if (available >= bytes) return;
  fail("{}: saving needs {}, the disk has {} free: free space or choose another folder",
       names.folder, format_bytes(static_cast<int64_t>(bytes)),
       format_bytes(static_cast<int64_t>(available)));
}

// In any order: nothing is visible under its final name yet. The files are synced already.
void sync_tree(FileSystem& files, const std::string& folder) {
  std::error_code error;
  fs::recursive_directory_iterator item(folder, error);
  for (; !error && item != fs::recursive_directory_iterator(); item.increment(error)) {
    if (kind_of(item->path().string()) == Kind::kFolder) files.sync_folder(item->path().string());
  }
  if (error) fail_errno(folder, "list it", error.value());
  files.sync_folder(folder);
}

// Two renames for file systems that cannot exchange names.
void replace_in_two_steps(FileSystem& files, const Names& names) {
  files.rename(names.folder, names.old);
  try {
    files.rename(names.temporary, names.folder);
  } catch (...) {
    files.rename(names.old, names.folder);
    throw;
  }
}

void put_in_place(FileSystem& files, const Names& names) {
  if (!exists(names.folder)) {
    files.rename(names.temporary, names.folder);
  } else if (!files.exchange(names.temporary, names.folder)) {
    replace_in_two_steps(files, names);
  }
}

// For what is of no use any more: a failure costs disk space until the next publish, not the
// result.
void discard(FileSystem& files, const std::string& path) {
  try {
    files.remove_all(path);
  } catch (const UserError& error) {
    warn("left behind, remove it by hand: {}", error.what());
  }
}

}  // namespace

void publish_folder(FileSystem& files, const std::string& folder,
                    const std::function<void(const std::string& temporary)>& body, uint64_t bytes) {
  const Names names = names_of(folder);
  recover(files, names);
  files.remove_all(names.temporary);
  files.remove_all(names.old);
  check_space(files, names, bytes);
  try {
    files.make_folder(names.temporary);
    body(names.temporary);
    sync_tree(files, names.temporary);
    put_in_place(files, names);
  } catch (...) {
    discard(files, names.temporary);
    throw;
  }
  files.sync_folder(names.parent);
  discard(files, names.temporary);
  discard(files, names.old);
}

void recover_folder(FileSystem& files, const std::string& folder) {
  recover(files, names_of(folder));
}

}  // namespace trireme::io
