#include "data/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/error.h"

namespace trireme::data {
namespace {

uint8_t byte_at(std::string_view text, size_t i) { return static_cast<uint8_t>(text[i]); }

// Bytes that may follow the lead byte (table 3-7 of the Unicode standard).
struct Lead {
  int length;
  uint8_t low, high;
};

Lead classify(uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

size_t ascii_prefix(std::string_view text, size_t from) {
  size_t i = from;
  for (uint64_t word; i + 8 <= text.size(); i += 8) {
    std::memcpy(&word, text.data() + i, 8);
    if (word & 0x8080808080808080ULL) break;
  }
  while (i < text.size() && byte_at(text, i) < 0x80) ++i;
  return i;
}

bool is_python_space(char32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); }

}  // namespace

size_t utf8_sequence(std::string_view text, size_t& bad) {
  const Lead lead = classify(byte_at(text, 0));
  bad = 1;
  if (lead.length == 0) return 0;
  for (int i = 1; i < lead.length; ++i) {
    const uint8_t low = i == 1 ? lead.low : 0x80;
    const uint8_t high = i == 1 ? lead.high : 0xBF;
    if (static_cast<size_t>(i) >= text.size() || byte_at(text, i) < low ||
        byte_at(text, i) > high) {
      bad = i;
      return 0;
    }
  }
  return lead.length;
}

size_t valid_utf8_prefix(std::string_view text) {
  size_t i = ascii_prefix(text, 0);
  while (i < text.size()) {
    size_t bad = 0;
    const size_t length = utf8_sequence(text.substr(i), bad);
    if (length == 0) break;
    i += length;
    if (length == 1) i = ascii_prefix(text, i);
  }
  return i;
}

std::string to_valid_utf8(std::string_view text) {
  std::string out;
  while (true) {
    const size_t valid = valid_utf8_prefix(text);
    out.append(text.substr(0, valid));
    text.remove_prefix(valid);
    if (text.empty()) return out;
    size_t bad = 0;
    utf8_sequence(text, bad);
    append_utf8(out, kReplacement);
    text.remove_prefix(bad);
  }
}

char32_t next_code_point(std::string_view text, size_t& position) {
  const uint8_t lead = byte_at(text, position);
  const int whole = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  const int length = static_cast<int>(std::min<size_t>(whole, text.size() - position));
  char32_t value = length == 1 ? lead : lead & (0x7F >> length);
  for (int i = 1; i < length; ++i) value = (value << 6) | (byte_at(text, position + i) & 0x3F);
  position += length;
  return value;
}

void append_utf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
    return;
  }
  const int length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  out += static_cast<char>((0xF00 >> length) | (c >> (6 * (length - 1))));
  for (int i = length - 2; i >= 0; --i) out += static_cast<char>(0x80 | ((c >> (6 * i)) & 0x3F));
}

bool is_surely_nfc(std::string_view text) {
  size_t i = ascii_prefix(text, 0);
  while (i < text.size()) {
    const char32_t c = next_code_point(text, i);
    const bool safe =
        c < 0x300                           // Latin, none of it combining
        || (c >= 0x2010 && c <= 0x2027)     // dashes, quotes, ellipsis
        || (c >= 0x3000 && c <= 0x3029)     // CJK punctuation
        || (c >= 0x3400 && c <= 0x9FFF)     // CJK ideographs
        || (c >= 0xAC00 && c <= 0xD7A3)     // Hangul: composes with jamo only, which are not here
        || (c >= 0xFF00 && c <= 0xFFEF)     // full-width and half-width forms
        || (c >= 0x1F300 && c <= 0x1FAFF);  // emoji
    if (!safe) return false;
  }
  return true;
}

std::string normal_form(std::string_view text, NormalForm form) {
  const bool compose = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  const auto options = static_cast<utf8proc_option_t>(
      UTF8PROC_STABLE | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
      (compatible ? UTF8PROC_COMPAT : 0));
  utf8proc_uint8_t* mapped = nullptr;
  const utf8proc_ssize_t length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &mapped, options);
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(mapped, &std::free);
  TRIREME_CHECK(length >= 0, "normal form: {}", utf8proc_errmsg(length));
  return std::string(reinterpret_cast<const char*>(mapped), static_cast<size_t>(length));
}

std::string nfc(std::string_view text) {
  if (is_surely_nfc(text)) return std::string(text);
  return normal_form(text, NormalForm::kNfc);
}

bool is_word_character(char32_t c) {
  if (c < 0x80) return std::isalnum(static_cast<int>(c)) != 0 || c == '_';
  if (c == 0x200C || c == 0x200D) return true;  // joiners
  // Circled letters are symbols that are alphabetic.
  if ((c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
      (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189)) {
    return true;
  }
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return false;
  }
}

bool is_white_space(char32_t c) {
  return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

size_t space_at_end(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t start = end - 1;
    while (start > 0 && (text[start] & 0xC0) == 0x80) --start;
    size_t position = start;
    if (!is_white_space(next_code_point(text, position))) break;
    end = start;
  }
  return text.size() - end;
}

size_t space_at_start(std::string_view text) {
  size_t length = 0;
  for (size_t next = 0; next < text.size(); length = next) {
    if (!is_white_space(next_code_point(text, next))) break;
  }
  return length;
}

std::string to_lower(char32_t code_point) {
  std::string lower;
  append_utf8(lower,
              static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code_point))));
  if (code_point == 0x130) append_utf8(lower, 0x307);  // the one with two
  return lower;
}

std::string_view strip(std::string_view text) {
  size_t first = text.size(), last = 0;  // of what is not white space
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    if (is_python_space(next_code_point(text, i))) continue;
    if (first == text.size()) first = start;
    last = i;
  }
  return first == text.size() ? text.substr(0, 0) : text.substr(first, last - first);
}

}  // namespace trireme::data
