// Files that other trainers write as YAML, where JSON is expected.
#pragma once

#include <string_view>

namespace trireme::config {

// The first line that is neither blank nor a comment begins "name:" or "- ", or is "---". No JSON
// does.
bool looks_like_yaml(std::string_view text);

}  // namespace trireme::config
