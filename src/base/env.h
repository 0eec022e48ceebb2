// The only reader and writer of environment variables.
#pragma once

#include <optional>
#include <string>

namespace trireme {

// Unset and empty are the same.
std::optional<std::string> env(const char* name);

// Sets it where it is unset, for a library that reads it later.
void set_default_env(const char* name, const char* value);

}  // namespace trireme
