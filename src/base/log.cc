#include "base/log.h"

#include <cstdio>

namespace trireme {

void log_line(std::string_view line) {
  const std::string text = fmt::format("{}\n", line);
  std::fwrite(text.data(), 1, text.size(), stderr);
}

void warn_line(std::string_view line) { log_line(fmt::format("warning: {}", line)); }

}  // namespace trireme
