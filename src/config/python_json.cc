#include "config/python_json.h"

#include <array>
#include <cctype>
#include <utility>

namespace trireme::config {
namespace {

using Word = std::pair<std::string_view, std::string_view>;
constexpr std::array<Word, 3> kWords = {
    {{"NaN", "\"\" "}, {"Infinity", "\"inf\"   "}, {"-Infinity", "\"-inf\"   "}}};

bool in_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

// The replacement of the word that begins here; "" where none does.
std::string_view replacement(std::string_view text, size_t at) {
  if (at > 0 && (in_word(text[at - 1]) || text[at - 1] == '-')) return "";
  for (const auto& [word, quoted] : kWords) {
    const size_t end = at + word.size();
    const bool whole = end >= text.size() || !in_word(text[end]);
    if (whole && text.substr(at, word.size()) == word) return quoted;
  }
  return "";
}

}  // namespace

std::string without_python_numbers(std::string_view text) {
  std::string result(text);
  if (text.find("NaN") == text.npos && text.find("Infinity") == text.npos) return result;
  bool inside = false;  // of a string, which a line's end closes too
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (inside && c == '\\') {
      ++at;
    } else if (c == '"' || c == '\n') {
      inside = c == '"' && !inside;
    } else if (!inside && (c == 'N' || c == 'I' || c == '-')) {
      const std::string_view quoted = replacement(text, at);
      result.replace(at, quoted.size(), quoted);
    }
  }
  return result;
}

}  // namespace trireme::config
