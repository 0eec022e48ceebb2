#include "base/error.h"

#include <cstdio>
#include <cstdlib>

namespace trireme {

UserError::UserError(const std::string& text)
    : std::runtime_error(shortened(escaped(text), kLongestLine)) {}

void check_failed(const char* file, int line, const char* condition, const std::string& detail) {
  fmt::print(stderr, "trireme: internal error at {}:{}: {} {}\n", file, line, condition, detail);
  std::abort();
}

}  // namespace trireme
