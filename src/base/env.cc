#include "base/env.h"

#include <sys/auxv.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>
#include <vector>

namespace trireme {

std::optional<std::string> env(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

std::optional<std::string> env(const char* name, char** envp) {
  const std::string start = std::string(name) + "=";
  for (; *envp != nullptr; ++envp) {
    const std::string_view entry = *envp;
    if (!entry.starts_with(start) || entry.size() == start.size()) continue;
    return std::string(entry.substr(start.size()));
  }
  return std::nullopt;
}

void start_again_with(const char* setting, char** argv, char** envp) {
  // Started as an argument of the dynamic loader, which has then no loader of its own, the program
  // would be the loader.
  if (getauxval(AT_BASE) == 0) return;
  std::vector<char*> variables;
  for (; *envp != nullptr; ++envp) variables.push_back(*envp);
  variables.push_back(const_cast<char*>(setting));
  variables.push_back(nullptr);
  // The path that it was started by, not /proc/self/exe: ps and pgrep show the last part of it.
  execve(reinterpret_cast<const char*>(getauxval(AT_EXECFN)), argv, variables.data());
}

void set_default_env(const char* name, const char* value) { setenv(name, value, /*overwrite=*/0); }

}  // namespace trireme
