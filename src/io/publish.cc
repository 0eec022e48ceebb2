// Publishing: fill a temporary folder, sync it, swap it with the old one, sync the parent, remove
// the old one. The old content is never touched before the new one is complete and durable under
// the final name, so that whatever operation fails or is the last before a power failure, one
// complete folder is left. The next publish of the same name, and the next run in the same output
// folder, sweep what is left over (io/temporary.h):
//
//   under a temporary name         what it means                       what becomes of it
//   empty, or a temporary manifest the body did not finish             removed
//   a manifest                     the exchange or the removal was     removed
//                                  the last that was done
//   a manifest with "was"          set aside, on a file system that    put back if its name is
//   free,
//                                  cannot exchange names               else removed
#include "io/publish.h"

#include <filesystem>

#include "base/error.h"
#include "base/units.h"
#include "io/posix.h"
#include "io/temporary.h"

namespace trireme::io {
namespace {

namespace fs = std::filesystem;

struct Names {
  std::string folder;
  std::string parent;
  std::string name;
};

// Symbolic links are followed first: renaming a link would leave its target behind.
Names names_of(const std::string& folder) {
  std::error_code error;
  fs::path path = fs::absolute(folder, error);
  if (!error) path = fs::weakly_canonical(path, error);
  if (error) fail_errno(folder, "resolve its path", error.value());
  if (!path.has_filename()) path = path.parent_path();  // a trailing slash
  if (path == path.root_path()) fail("{}: cannot be replaced: name another folder", folder);
  return {path.string(), path.parent_path().string(), path.filename().string()};
}

void require_replaceable(const std::string& folder) {
  const Kind kind = kind_of(folder);
  if (kind == Kind::kNothing) return;
  if (kind != Kind::kFolder) {
    fail("{}: a file is in the way: remove it or name another folder", folder);
  }
  if (const std::string why = foreign(folder); !why.empty()) {
    fail("{}: is not replaced: it {}: move it away or choose another folder", folder, why);
  }
}

void complete_manifest(SummedFiles& files, const std::string& folder, Manifest manifest) {
  for (const std::string& name : names_below(folder)) {
    if (name == kManifest || kind_of(folder + "/" + name) == Kind::kFolder) continue;
    const auto sum = files.sums().find(folder + "/" + name);
    TRIREME_CHECK(sum != files.sums().end(), "{} is not of the publisher", name);
    manifest.files.emplace(name, sum->second);
  }
  replace_text(files, folder + "/" + kManifest, manifest_text(manifest));
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

// Two renames for file systems that cannot exchange names. Returns the old one's new name.
std::string replace_in_two_steps(FileSystem& files, const std::string& temporary,
                                 const Names& names) {
  const std::string aside = temporary_name(names.folder);
  if (auto manifest = read_manifest(names.folder)) {
    manifest->was = names.name;
    replace_text(files, names.folder + "/" + kManifest, manifest_text(*manifest));
  }
  files.rename(names.folder, aside);
  try {
    files.rename(temporary, names.folder);
  } catch (...) {
    files.rename(aside, names.folder);
    throw;
  }
  return aside;
}

// Returns where the old content is now.
std::string put_in_place(FileSystem& files, const std::string& temporary, const Names& names) {
  if (kind_of(names.folder) == Kind::kNothing) {
    files.rename(temporary, names.folder);
    return temporary;
  }
  if (files.exchange(temporary, names.folder)) return temporary;
  return replace_in_two_steps(files, temporary, names);
}

}  // namespace

void check_space(FileSystem& files, const std::string& path, uint64_t bytes) {
  if (bytes == 0) return;
  const uint64_t available = files.free_bytes(path);
  if (available >= bytes) return;
  fail("{}: saving needs {}, the disk has {} free: free space or choose another folder", path,
       format_bytes(static_cast<int64_t>(bytes)), format_bytes(static_cast<int64_t>(available)));
}

void publish_folder(FileSystem& files, const std::string& folder, const Manifest& manifest,
                    const std::function<void(SummedFiles&, const std::string& temporary)>& body,
                    uint64_t bytes) {
  const Names names = names_of(folder);
  sweep(files, names.parent, names.name);
  require_replaceable(names.folder);
  check_space(files, names.folder, bytes);
  TemporaryFolder temporary(files, names.folder, manifest);
  SummedFiles summed(files);
  body(summed, temporary.path());
  complete_manifest(summed, temporary.path(), manifest);
  sync_tree(files, temporary.path());
  require_replaceable(names.folder);  // it may have changed while the body ran
  const std::string old = put_in_place(files, temporary.path(), names);
  temporary.keep();
  files.sync_folder(names.parent);
  discard(files, old);
}

}  // namespace trireme::io
