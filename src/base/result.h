// What a verb prints as its result, on stdout; lines for people go to stderr (log.h). A result that
// does not arrive is an error.
#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace trireme {

// Throws UserError when stdout takes no more (a full disk). What it takes is kept for a while.
void print_result_text(std::string_view text);

template <typename... Args>
void print_result(fmt::format_string<Args...> text, Args&&... args) {
  print_result_text(fmt::format(text, std::forward<Args>(args)...));
}

// Hands on what is still kept, and throws UserError when that fails. main calls it when a verb has
// ended well, whichever way the verb printed.
void flush_results();

}  // namespace trireme
