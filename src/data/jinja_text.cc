#include "data/jinja_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>

#include "data/unicode.h"

namespace trireme::data::jinja {
namespace {

bool holds(std::string_view chars, std::string_view code_point) {
  for (size_t at = chars.find(code_point); at != chars.npos; at = chars.find(code_point, at + 1)) {
    if ((chars[at] & 0xC0) != 0x80) return true;
  }
  return false;
}

char32_t changed(char32_t c, Case which) {
  const auto code = static_cast<utf8proc_int32_t>(c);
  switch (which) {
    case Case::kLower:
      return static_cast<char32_t>(utf8proc_tolower(code));
    case Case::kUpper:
      return static_cast<char32_t>(utf8proc_toupper(code));
    case Case::kTitle:
      return static_cast<char32_t>(utf8proc_totitle(code));
  }
  return c;
}

bool ends_line(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

}  // namespace

Text::Text(std::string_view text, Mark mark) : bytes(text), marks(text.size(), mark) {}

Text Text::substr(size_t from, size_t count) const {
  Text part;
  part.bytes = bytes.substr(from, count);
  part.marks = marks.substr(from, count);
  return part;
}

void Text::append(const Text& other) {
  bytes += other.bytes;
  marks += other.marks;
}

void Text::append(std::string_view text, Mark mark) {
  bytes += text;
  marks.append(text.size(), mark);
}

std::vector<size_t> code_points(std::string_view text) {
  std::vector<size_t> starts;
  for (size_t at = 0; at < text.size();) {
    starts.push_back(at);
    next_code_point(text, at);
  }
  starts.push_back(text.size());
  return starts;
}

size_t count_code_points(std::string_view text) {
  size_t count = 0;
  for (size_t at = 0; at < text.size(); ++count) next_code_point(text, at);
  return count;
}

bool is_space(char32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); }

bool is_cased_or_number(char32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LT;
}

Text strip(const Text& text, Side side, const std::string* chars) {
  const std::string_view all = text.bytes;
  const auto goes = [&](size_t from, size_t to) {
    const std::string_view one = all.substr(from, to - from);
    size_t at = 0;
    return chars != nullptr ? holds(*chars, one) : is_space(next_code_point(one, at));
  };
  size_t begin = 0, end = all.size();
  while ((static_cast<int>(side) & 1) != 0 && begin < end) {
    size_t next = begin;
    next_code_point(all, next);
    if (!goes(begin, next)) break;
    begin = next;
  }
  while ((static_cast<int>(side) & 2) != 0 && end > begin) {
    size_t last = end - 1;
    while (last > begin && (all[last] & 0xC0) == 0x80) --last;
    if (!goes(last, end)) break;
    end = last;
  }
  Text result = text.substr(begin, end - begin);
  result.markup = text.markup;
  return result;
}

Text replace(const Text& text, std::string_view what, const Text& with, int64_t most) {
  Text result;
  size_t done = 0, from = 0;
  for (int64_t count = 0; most < 0 || count < most; ++count) {
    const size_t at = from > text.size() ? std::string::npos : text.bytes.find(what, from);
    if (at == std::string::npos) break;
    result.append(text.substr(done, at - done));
    result.append(with);
    done = at + what.size();
    from = done;
    if (what.empty()) {
      if (from == text.size()) break;
      next_code_point(text.bytes, from);
    }
  }
  result.append(text.substr(done));
  return result;
}

Text escaped(const Text& text) {
  static constexpr std::string_view kSigns = "&<>'\"";
  static constexpr std::string_view kNames[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
  Text result;
  for (size_t i = 0; i < text.size(); ++i) {
    const size_t which = kSigns.find(text.bytes[i]);
    const auto one = std::string_view(text.bytes).substr(i, 1);
    result.append(which == kSigns.npos ? one : kNames[which], text.marks[i]);
  }
  result.markup = true;
  return result;
}

std::vector<Text> split_lines(const Text& text) {
  std::vector<Text> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = at;
    const char32_t c = next_code_point(text.bytes, at);
    if (!ends_line(c)) continue;
    if (c == '\r' && at < text.size() && text.bytes[at] == '\n') ++at;
    lines.push_back(text.substr(begin, end - begin));
    begin = at;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

Text with_case(const Text& text, Case which) {
  Text result;
  for (size_t at = 0; at < text.size();) {
    const Mark mark = text.marks[at];
    const char32_t c = next_code_point(text.bytes, at);
    if (c == U'ß' && which != Case::kLower) {
      result.append(which == Case::kUpper ? "SS" : "Ss", mark);
      continue;
    }
    std::string one;
    append_utf8(one, changed(c, which));
    result.append(one, mark);
  }
  return result;
}

}  // namespace trireme::data::jinja
