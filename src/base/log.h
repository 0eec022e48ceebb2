// Lines for people, on stderr; stdout belongs to results. Thread-safe: a line is written whole. A
// reader that goes away (a closed terminal, `2>&1 | head`) is no error: lines are then lost.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

namespace trireme {

void log_line(std::string_view line);
void warn_line(std::string_view line);  // prefixed "warning: "

// Text as it is, for a line that is written over: on a terminal.
void log_text(std::string_view text);

// Why stderr took no more, if it ever did not; "" otherwise.
std::string log_lost();

// Switches log() off or on. Of several processes only one logs.
void only_warn(bool quiet);

template <typename... Args>
void log(fmt::format_string<Args...> text, Args&&... args) {
  log_line(fmt::format(text, std::forward<Args>(args)...));
}

template <typename... Args>
void warn(fmt::format_string<Args...> text, Args&&... args) {
  warn_line(fmt::format(text, std::forward<Args>(args)...));
}

}  // namespace trireme
