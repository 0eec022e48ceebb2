// Locks that the kernel drops with the process (flock), so that none outlives a kill.
#pragma once

#include <optional>
#include <string>

#include "io/fd.h"

namespace trireme::io {

enum class LockState { kTaken, kHeldByAnother, kUnknown };  // kUnknown: a file system without locks

struct Lock {
  LockState state = LockState::kUnknown;
  Fd fd = Fd(-1);  // holds the lock
};

// Locks a file or a folder that exists, without waiting.
Lock try_lock(const std::string& path);

// A folder's lock file, taken for one process until the object is gone, which removes the file.
// What a killed process left is no obstacle.
class FolderLock {
 public:
  static constexpr const char* kName = ".trireme.lock";

  // UserError: another process holds it, or a file of that name is not ours. A file system without
  // locks: a warning.
  explicit FolderLock(const std::string& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  std::string path_;
  Fd fd_;
};

}  // namespace trireme::io
