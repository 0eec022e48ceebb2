#include "base/error.h"

#include <cstdio>
#include <cstdlib>

namespace trireme {

void check_failed(const char* file, int line, const char* condition, const std::string& detail) {
  fmt::print(stderr, "trireme: internal error at {}:{}: {} {}\n", file, line, condition, detail);
  std::abort();
}

}  // namespace trireme
