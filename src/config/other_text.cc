#include "config/other_text.h"

#include <algorithm>
#include <cctype>

namespace trireme::config {
namespace {

constexpr auto npos = std::string_view::npos;

std::string_view without_blanks(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first == npos ? "" : text.substr(first);
}

// "key: value" or "key:", as JSON never begins a line.
bool yaml_line(std::string_view line) {
  const size_t colon = line.find(':');
  if (colon == npos || colon == 0) return false;
  const bool word = std::ranges::all_of(line.substr(0, colon), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
  });
  return word && (colon + 1 == line.size() || line[colon + 1] == ' ' || line[colon + 1] == '\r');
}

// Whether the first line that is neither empty nor a comment is one of YAML.
bool is_yaml(std::string_view text) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (without_blanks(line).empty() || without_blanks(line).starts_with('#')) continue;
    return line.starts_with("---") || yaml_line(line);
  }
  return false;
}

}  // namespace

std::string other_text(std::string_view text) {
  if (text.starts_with("version https://git-lfs")) {
    return "a Git LFS pointer, not the file itself: run `git lfs pull` in its folder";
  }
  const std::string_view start = without_blanks(text);
  if (start.starts_with("<!DOCTYPE") || start.starts_with("<!doctype") ||
      start.starts_with("<html")) {
    return "an HTML page, where JSON is expected: download the file again";
  }
  if (is_yaml(text)) {
    return "YAML, where JSON is expected: convert it: python -c 'import json, sys, yaml; "
           "print(json.dumps(yaml.safe_load(sys.stdin), indent=2))' < FILE.yaml > FILE.json";
  }
  return "";
}

}  // namespace trireme::config
