#include "io/posix.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/regular_file.h"

namespace trireme::io {
namespace {

// The remedy for an errno value; "" where the reason says enough.
std::string_view remedy(int error) {
  switch (error) {
    case ENOENT:
      return ": check the path";
    case EACCES:
    case EPERM:
      return ": check the owner and the mode of the file and of its folders";
    case ENOSPC:
      return ": free space there or choose another folder";
    case EDQUOT:
      return ": free space within the quota or choose another folder";
    case EROFS:
      return ": choose another folder";
    case EISDIR:
      return ": name a file";
    case EEXIST:
      return ": a file of that name is in the way";
    case ENOTDIR:
      return ": a part of the path is a file";
    case EBUSY:
      return ": if it is a mount point, choose a folder inside it";
    case EMFILE:
      return ": raise the limit of open files (ulimit -n)";
    case EFBIG:
      return ": raise the limit of the file size (ulimit -f)";
    case EIO:
      return ": the disk failed, see dmesg";
    default:
      return "";
  }
}

std::string reason(int error) {
  switch (error) {
    case ENOSPC:
      return "disk full";
    case EDQUOT:
      return "disk full (quota)";
    case ENOENT:
      return "no such file or folder";
    case EISDIR:
      return "it is a folder";
    default:
      return std::strerror(error);
  }
}

}  // namespace

Fd open_for_reading(const std::string& path) {
  require_regular_file(path);
  // Without blocking: a pipe may have taken the file's place.
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) fail_errno(path, "read", errno);
  struct stat status;
  if (::fstat(fd.get(), &status) != 0) fail_errno(path, "read", errno);
  if (S_ISDIR(status.st_mode)) fail_errno(path, "read", EISDIR);
  if (!S_ISREG(status.st_mode)) fail("{}: not a regular file", path);
  return fd;
}

void read_at(const Fd& fd, const std::string& path, uint64_t at, std::span<std::byte> into) {
  while (!into.empty()) {
    const ssize_t count = ::pread(fd.get(), into.data(), into.size(), static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_errno(path, "read", errno);
    if (count == 0) fail("{}: ends at byte {}: the file was shortened meanwhile", path, at);
    into = into.subspan(static_cast<size_t>(count));
    at += static_cast<uint64_t>(count);
  }
}

Kind kind_of(const std::string& path) {
  struct stat status;
  if (::stat(path.c_str(), &status) == 0) {
    if (S_ISREG(status.st_mode)) return Kind::kFile;
    return S_ISDIR(status.st_mode) ? Kind::kFolder : Kind::kOther;
  }
  if (errno != ENOENT && errno != ENOTDIR) fail_errno(path, "look at it", errno);
  return Kind::kNothing;
}

void fail_errno(const std::string& path, std::string_view action, int error) {
  fail("{}: cannot {}: {}{}", path, action, reason(error), remedy(error));
}

}  // namespace trireme::io
