// The only reader of environment variables.
#pragma once

#include <optional>
#include <string>

namespace trireme {

// Unset and empty are the same.
std::optional<std::string> env(const char* name);

}  // namespace trireme
