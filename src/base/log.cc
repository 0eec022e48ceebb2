#include "base/log.h"

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/quote.h"

namespace trireme {
namespace {

std::atomic<bool> quiet_{false};

std::atomic<int> lost_{0};  // errno

void write(std::string_view line) { log_text(fmt::format("{}\n", line)); }

}  // namespace

void log_text(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stderr) < text.size()) lost_ = errno;
  if (std::fflush(stderr) != 0) lost_ = errno;
}

std::string log_lost() { return lost_ == 0 ? "" : std::strerror(lost_); }

void log_line(std::string_view line) {
  if (!quiet_) write(line);
}

void warn_line(std::string_view line) { write(fmt::format("warning: {}", escaped(line))); }

void only_warn(bool quiet) { quiet_ = quiet; }

}  // namespace trireme
