// Errors. A user's mistake (a file, an option, too little memory) is a UserError: one line that
// names the place, the value and the remedy; main prints it and exits with status 2. A broken
// promise of ours is a TRIREME_CHECK: abort.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/quote.h"

namespace trireme {

// Whatever the text holds, what() is one line that a terminal shows as it is, of at most
// kLongestLine bytes.
class UserError : public std::runtime_error {
 public:
  static constexpr size_t kLongestLine = 1000;
  explicit UserError(const std::string& text);
};

// A collective did not end: a rank of the group is gone, or did not come in time.
class PeerFailure : public std::runtime_error {
 public:
  PeerFailure(const std::string& what, std::vector<int64_t> ranks)
      : std::runtime_error(what), ranks_(std::move(ranks)) {}
  const std::vector<int64_t>& ranks() const { return ranks_; }  // by their numbers in the group

 private:
  std::vector<int64_t> ranks_;
};

// A text as a message shows it: not the whole of what may be a megabyte.
template <typename T>
decltype(auto) shown(const T& value) {
  constexpr size_t kLongest = 300;
  if constexpr (std::is_convertible_v<const T&, std::string_view>) {
    return shortened(value, kLongest);
  } else {
    return (value);
  }
}

// Throws UserError with the formatted line: fail("{}:{}: ...", file, line).
template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> text, Args&&... args) {
  throw UserError(fmt::format(fmt::runtime(text), shown(args)...));
}

[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               const std::string& detail);

}  // namespace trireme

// An invariant of ours; never for input. Detail is optional: TRIREME_CHECK(a == b, "a {} b {}", a,
// b).
#define TRIREME_CHECK(condition, ...)                                                       \
  do {                                                                                      \
    if (!(condition)) [[unlikely]]                                                          \
      ::trireme::check_failed(__FILE__, __LINE__, #condition, fmt::format("" __VA_ARGS__)); \
  } while (false)
