#include "base/result.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"

namespace trireme {
namespace {

[[noreturn]] void fail_stdout(const char* reason) {
  fail("stdout: cannot write the result: {}: free space there, or send it elsewhere", reason);
}

// Others write to it too: reading from std::cin hands on what is kept, and does not look.
void check_earlier_parts() {
  if (std::ferror(stdout) != 0) fail_stdout("a part of it is lost");
}

}  // namespace

void print_result_text(std::string_view text) {
  check_earlier_parts();
  const size_t written = std::fwrite(text.data(), 1, text.size(), stdout);
  if (written < text.size()) fail_stdout(std::strerror(errno));
}

void flush_results() {
  if (std::fflush(stdout) != 0) fail_stdout(std::strerror(errno));
  check_earlier_parts();
}

}  // namespace trireme
