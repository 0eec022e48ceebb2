// The only reader and writer of environment variables.
#pragma once

#include <optional>
#include <string>

namespace trireme {

// Unset and empty are the same.
std::optional<std::string> env(const char* name);

// Sets it where it is unset, for a library that reads it later.
void set_default_env(const char* name, const char* value);

// For functions of .preinit_array, which run before libc has an environment and are given it: the
// variable there; and the program started again, as the same process, with `setting` (NAME=value)
// besides. That returns only where the system does not let it.
std::optional<std::string> env(const char* name, char** envp);
void start_again_with(const char* setting, char** argv, char** envp);

}  // namespace trireme
