#include "io/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "io/posix.h"

namespace trireme::io {
namespace {

constexpr std::string_view kMark = "trireme: ";

// Whether the descriptor is still what the path names: its holder may have removed it just before
// the lock was taken.
bool is_at(const Fd& fd, const std::string& path) {
  struct stat held, named;
  return ::fstat(fd.get(), &held) == 0 && ::lstat(path.c_str(), &named) == 0 &&
         held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

// What the holder wrote: "trireme: process 12 on host". UserError: not ours.
std::string holder(const Fd& fd, const std::string& path) {
  std::array<char, 256> text{};
  const ssize_t count = ::pread(fd.get(), text.data(), text.size(), 0);
  const std::string found(text.data(), count > 0 ? static_cast<size_t>(count) : 0);
  if (!found.empty() && !found.starts_with(kMark)) {
    fail("{}: not a lock of trireme: move it away", path);
  }
  if (found.empty()) return "another process";
  return found.substr(kMark.size(), found.find('\n') - kMark.size());
}

LockState lock(const Fd& fd) {
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    return errno == EWOULDBLOCK ? LockState::kHeldByAnother : LockState::kUnknown;
  }
  return LockState::kTaken;
}

Fd open_lock(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644));
  if (fd.get() < 0) fail_errno(path, "create", errno);
  return fd;
}

Fd take(const std::string& folder, const std::string& path) {
  while (true) {
    Fd fd = open_lock(path);
    const std::string who = holder(fd, path);
    const LockState state = lock(fd);
    if (state == LockState::kHeldByAnother) {
      fail("{}: in use by another run, {}: wait for its end or choose another folder", folder, who);
    }
    if (state == LockState::kUnknown) {
      warn("{}: this file system has no locks: do not start another run in it", folder);
    }
    if (is_at(fd, path)) return fd;
  }
}

}  // namespace

Lock try_lock(const std::string& path) {
  Lock found;
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (fd.get() < 0) return found;
  const LockState state = lock(fd);
  return {state, std::move(fd)};
}

FolderLock::FolderLock(const std::string& folder)
    : path_(folder + "/" + kName), fd_(take(folder, path_)) {
  std::array<char, 128> host{};
  ::gethostname(host.data(), host.size() - 1);
  const std::string text = fmt::format("{}process {} on {}\n", kMark, ::getpid(), host.data());
  if (::ftruncate(fd_.get(), 0) != 0) fail_errno(path_, "write", errno);
  // For the message alone: a full disk is no obstacle.
  if (::pwrite(fd_.get(), text.data(), text.size(), 0) < 0) return;
}

FolderLock::~FolderLock() {
  if (is_at(fd_, path_)) ::unlink(path_.c_str());
}

}  // namespace trireme::io
