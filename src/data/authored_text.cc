#include "data/authored_text.h"

#include "data/unicode.h"

namespace trireme::data {
namespace {

// From where on a text is composed by itself: the next character behind `from` that is Latin-1,
// which nothing before it composes with.
size_t next_border(std::string_view text, size_t from) {
  size_t next = from;
  next_code_point(text, next);
  while (next < text.size()) {
    size_t behind = next;
    if (next_code_point(text, behind) < 0x100) return next;
    next = behind;
  }
  return next;
}

}  // namespace

AuthoredString::AuthoredString(std::span<const TextRun> runs) {
  for (const TextRun& run : runs) append({to_valid_utf8(run.text), run.author});
}

void AuthoredString::append(const AuthoredText& text) {
  text_ += text.text();
  authors_ += text.authors();
}

AuthoredString nfc(const AuthoredText& text) {
  AuthoredString composed;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = next_border(text.text(), begin);
    const AuthoredText part = text.substr(begin, end - begin);
    if (is_surely_nfc(part.text())) {
      composed.append(part);
    } else {
      composed.append({nfc(part.text()), part.strictest()});
    }
    begin = end;
  }
  return composed;
}

}  // namespace trireme::data
