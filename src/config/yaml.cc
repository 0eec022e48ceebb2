#include "config/yaml.h"

#include <algorithm>
#include <cctype>

namespace trireme::config {
namespace {

bool in_name(unsigned char c) { return std::isalnum(c) || c == '_' || c == '-' || c == '.'; }

bool is_yaml_line(std::string_view line) {
  if (line.starts_with("---") || line.starts_with("- ")) return true;
  const auto* end = std::ranges::find_if_not(line, in_name);
  const std::string_view rest(end, line.end());
  return end != line.begin() && (rest == ":" || rest.starts_with(": "));
}

}  // namespace

bool looks_like_yaml(std::string_view text) {
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const size_t first = line.find_first_not_of(" \t\r");
    if (first == line.npos || line[first] == '#') continue;
    line = line.substr(first, line.find_last_not_of(" \t\r") - first + 1);
    return is_yaml_line(line);
  }
  return false;
}

}  // namespace trireme::config
