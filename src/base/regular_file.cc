#include "base/regular_file.h"

#include <sys/stat.h>

#include "base/error.h"
#include "base/units.h"

namespace trireme {
namespace {

const char* kind_text(mode_t mode) {
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

}  // namespace

void require_regular_file(const std::string& path, uint64_t most) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0 || S_ISDIR(status.st_mode)) return;
  if (!S_ISREG(status.st_mode)) {
    fail("{}: {}: not a regular file: copy what it holds to one", path, kind_text(status.st_mode));
  }
  require_length(static_cast<uint64_t>(status.st_size), most, path);
}

void require_length(uint64_t bytes, uint64_t most, const std::string& name) {
  if (bytes <= most) return;
  fail("{}: {} long, at most {} are expected: is it the right file?", name,
       format_bytes(static_cast<int64_t>(bytes)), format_bytes(static_cast<int64_t>(most)));
}

}  // namespace trireme
