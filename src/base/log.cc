#include "base/log.h"

#include <atomic>
#include <cstdio>

#include "base/quote.h"

namespace trireme {
namespace {

std::atomic<bool> quiet_{false};

void write(std::string_view line) {
  const std::string text = fmt::format("{}\n", line);
  std::fwrite(text.data(), 1, text.size(), stderr);
}

}  // namespace

void log_line(std::string_view line) {
  if (!quiet_) write(line);
}

void warn_line(std::string_view line) { write(fmt::format("warning: {}", escaped(line))); }

void only_warn(bool quiet) { quiet_ = quiet; }

}  // namespace trireme
