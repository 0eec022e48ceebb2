#include "base/env.h"

#include <cstdlib>

namespace trireme {

std::optional<std::string> env(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

void set_default_env(const char* name, const char* value) { setenv(name, value, /*overwrite=*/0); }

}  // namespace trireme
