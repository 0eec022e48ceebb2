// Texts that are often given where JSON is expected.
#pragma once

#include <string>
#include <string_view>

namespace trireme::config {

// What a text is that is not JSON, and the remedy; "" where that is not known.
std::string other_text(std::string_view text);

}  // namespace trireme::config
