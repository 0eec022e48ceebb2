#pragma once

#include <cstddef>
#include <string_view>

namespace trireme {

// Bytes of the well-formed UTF-8 sequence (RFC 3629) at `at`, or 0.
size_t utf8_length(std::string_view text, size_t at);

// The whole text is UTF-8.
bool is_utf8(std::string_view text);

}  // namespace trireme
