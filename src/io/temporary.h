// Names of what is not complete: NAME.trireme-1a2b3c4d, beside NAME. What a killed process left
// under such a name is recognised by its content as well, and removed by the next one.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "io/file.h"
#include "io/lock.h"
#include "io/manifest.h"

namespace trireme::io {

// A name beside `path` that nothing has.
std::string temporary_name(const std::string& path);

// A folder for parts of `target`, beside it, locked until the object is gone, which removes it.
class TemporaryFolder {
 public:
  TemporaryFolder(FileSystem& files, const std::string& target, Manifest manifest);
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  void keep() { kept_ = true; }  // it is not removed

 private:
  FileSystem& files_;
  std::string path_;
  std::optional<Lock> lock_;
  bool kept_ = false;
};

// Writes a file under a temporary name, which then takes the place of `path`: `write` creates and
// syncs it. A failure leaves what was there, and nothing beside it.
void replace_file(FileSystem& files, const std::string& path,
                  const std::function<void(const std::string& temporary)>& write);
void replace_text(FileSystem& files, const std::string& path, const std::string& text);

// Whether a process that was killed left this under a temporary name: a folder with our manifest,
// an empty one, or a file that begins as ours do. Links never are.
bool is_leftover(const std::string& path);

// What in this folder trireme did not publish, in words; "" where it may be replaced: all of it is
// listed by its manifest or a leftover, or it is empty.
std::string foreign(const std::string& folder);

// Removes what processes that were killed left in `parent` of `name`, of any name where it is "".
// Where that is a folder that had been set aside and nothing has its place, it is put back.
void sweep(FileSystem& files, const std::string& parent, const std::string& name = "");

// Removes a published folder: first away from its name, in one step, then its files. UserError, and
// nothing done: it is not ours, or holds what its manifest does not list.
void retire(FileSystem& files, const std::string& folder);

// For what is of no use any more, under a temporary name: a failure is a warning.
void discard(FileSystem& files, const std::string& path);

}  // namespace trireme::io
