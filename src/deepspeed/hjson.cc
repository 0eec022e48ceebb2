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
// closed is none: parse_json names it.
size_t comment_end(std::string_view text, size_t at) {
  const std::string_view rest = text.substr(at);
  if (rest.starts_with('#') || rest.starts_with("//")) {
    const size_t end = text.find_first_of("\r\n", at);
    return end == npos ? text.size() : end;
  }
  if (!rest.starts_with("/*")) return at;
  const size_t end = text.find("*/", at + 2);
  return end == npos ? at : end + 2;
}

// Line ends stay, and of a character of several bytes one blank: columns count characters.
void blank(std::string& text, size_t from, size_t end) {
  std::string blanks;
  for (size_t i = from; i < end; ++i) {
    const bool line_end = text[i] == '\n' || text[i] == '\r';
    const bool inside = (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80;
    if (!inside) blanks += line_end ? text[i] : ' ';
  }
  text.replace(from, end - from, blanks);
}

}  // namespace

std::string without_hjson(std::string_view original) {
  std::string text(original);
  char last = '[';      // outside of blanks and comments: a comma needs something before it
  size_t comma = npos;  // of a comma that nothing has followed yet
  for (size_t at = 0; at < text.size();) {
    if (const size_t end = comment_end(text, at); end != at) {
      const size_t left = text.size() - end;
      blank(text, at, end);
      at = text.size() - left;
      continue;
    }
    const char c = text[at];
    const size_t next = c == '"' ? string_end(text, at) : at + 1;
    if (!is_space(c)) {
      if ((c == '}' || c == ']') && comma != npos) text[comma] = ' ';
      const bool after_value = last != ',' && last != '[' && last != '{' && last != ':';
      comma = c == ',' && after_value ? at : npos;
      last = c;
    }
    at = next;
  }
  return text;
}

}  // namespace trireme::deepspeed
