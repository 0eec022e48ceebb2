#include "deepspeed/hjson.h"

namespace trireme::deepspeed {
namespace {

constexpr auto npos = std::string_view::npos;

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

// The end of the string whose opening quote stands at `at`. A line's end closes it too: JSON has no
// strings over several lines, and parse_json will say so.
size_t string_end(std::string_view text, size_t at) {
  for (++at; at < text.size() && text[at] != '"' && text[at] != '\n'; ++at) {
    if (text[at] == '\\') ++at;
  }
  return at + 1 < text.size() ? at + 1 : text.size();
}

// The end of the comment that starts at `at`; `at` itself where none does. A comment that is never
// closed is none: parse_json names it. `closes` becomes false with the first of them: none that
// begins later is closed, and looking again for each would take quadratic time.
size_t comment_end(std::string_view text, size_t at, bool& closes) {
  const std::string_view rest = text.substr(at);
  if (rest.starts_with('#') || rest.starts_with("//")) {
    const size_t end = text.find_first_of("\r\n", at);
    return end == npos ? text.size() : end;
  }
  if (!closes || !rest.starts_with("/*")) return at;
  const size_t end = text.find("*/", at + 2);
  closes = end != npos;
  return closes ? end + 2 : at;
}

// Line ends stay, and of a character of several bytes one blank: columns count characters.
void append_blanks(std::string& text, std::string_view comment) {
  for (const char c : comment) {
    const bool line_end = c == '\n' || c == '\r';
    const bool inside = (static_cast<unsigned char>(c) & 0xC0) == 0x80;
    if (!inside) text += line_end ? c : ' ';
  }
}

}  // namespace

std::string without_hjson(std::string_view original) {
  std::string text;
  char last = '[';      // outside of blanks and comments: a comma needs something before it
  size_t comma = npos;  // in text, of a comma that nothing has followed yet
  bool closes = true;
  for (size_t at = 0; at < original.size();) {
    if (const size_t end = comment_end(original, at, closes); end != at) {
      append_blanks(text, original.substr(at, end - at));
      at = end;
      continue;
    }
    const char c = original[at];
    if (!is_space(c)) {
      if ((c == '}' || c == ']') && comma != npos) text[comma] = ' ';
      const bool after_value = last != ',' && last != '[' && last != '{' && last != ':';
      comma = c == ',' && after_value ? text.size() : npos;
      last = c;
    }
    const size_t next = c == '"' ? string_end(original, at) : at + 1;
    text += original.substr(at, next - at);
    at = next;
  }
  return text;
}

}  // namespace trireme::deepspeed
