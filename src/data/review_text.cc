#include "data/review_text.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "base/error.h"
#include "base/utf8.h"

namespace trireme::data {
namespace {

constexpr std::string_view kBom = "\xEF\xBB\xBF";

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Offset of the first byte at or after `at` that is not ASCII; eight at a time.
size_t skip_ascii(std::string_view text, size_t at) {
  while (at + 8 <= text.size()) {
    uint64_t word;
    std::memcpy(&word, text.data() + at, 8);
    if (word & 0x8080808080808080ULL) break;
    at += 8;
  }
  while (at < text.size() && static_cast<unsigned char>(text[at]) < 0x80) ++at;
  return at;
}

// Files of tables that are no text, told by their first bytes.
void refuse_binary(std::string_view text, const std::string& name) {
  if (text.starts_with("\x1F\x8B")) {
    fail("{}: a gzip file, not text: unpack it with gunzip", name);
  }
  if (text.starts_with("PK\3\4")) {
    fail("{}: a zip archive or an Excel file, not text: unpack it, or save the table as CSV", name);
  }
  if (text.starts_with("PAR1") && text.ends_with("PAR1")) {
    fail("{}: a Parquet file, not text: write CSV: pandas.read_parquet(FILE).to_csv(NEW)", name);
  }
}

[[noreturn]] void fail_utf8(std::string_view text, size_t at, const std::string& name) {
  const std::string place = place_text(name, text, at);
  const bool inside_last = static_cast<unsigned char>(text[at]) >= 0xC2 && at + 4 > text.size() &&
                           std::all_of(text.begin() + at + 1, text.end(), is_continuation);
  if (inside_last) fail("{}: the file ends inside a character: truncated? copy it again", place);
  fail("{}: byte 0x{:02X} is not UTF-8 (GBK?): convert with iconv -f GBK -t UTF-8", place,
       static_cast<unsigned char>(text[at]));
}

// A date ends here, or a time of day follows.
bool ends_or_goes_on(std::string_view text, size_t at) {
  return text.size() == at || text[at] == ' ' || text[at] == 'T';
}

// Length of the white-space character at `at`, or 0.
size_t blank_length(std::string_view text, size_t at) {
  static constexpr std::array<std::string_view, 4> kWide = {"\u3000", "\u00A0", "\u200B", "\uFEFF"};
  if (std::strchr(" \t\n\v\f\r", text[at]) && text[at] != '\0') return 1;
  for (std::string_view wide : kWide) {
    if (text.substr(at, wide.size()) == wide) return wide.size();
  }
  return 0;
}

}  // namespace

TextPosition locate(std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, offset);
  TextPosition position;
  position.line += std::count(before.begin(), before.end(), '\n');
  const size_t newline = before.rfind('\n');
  const std::string_view line = newline == before.npos ? before : before.substr(newline + 1);
  position.column +=
      std::count_if(line.begin(), line.end(), [](char c) { return !is_continuation(c); });
  return position;
}

std::string place_text(const std::string& name, std::string_view text, size_t offset) {
  const TextPosition position = locate(text, offset);
  return fmt::format("{}:{}:{}", name, position.line, position.column);
}

void require_utf8(std::string_view text, const std::string& name) {
  refuse_binary(text, name);
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) {
    fail("{}:1:1: the file is UTF-16: convert with iconv -f UTF-16 -t UTF-8", name);
  }
  size_t at = 0;
  while ((at = skip_ascii(text, at)) < text.size()) {
    const size_t length = utf8_length(text, at);
    if (length == 0) fail_utf8(text, at, name);
    at += length;
  }
  if (const size_t nul = text.find('\0'); nul != text.npos) {
    fail(
        "{}: NUL byte: the file is damaged or binary; copy it again, or remove them with tr -d "
        "'\\000'",
        place_text(name, text, nul));
  }
}

std::string_view without_bom(std::string_view text) {
  return text.starts_with(kBom) ? text.substr(kBom.size()) : text;
}

bool is_blank(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = blank_length(text, at);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

std::string one_line(std::string_view text) {
  static constexpr std::string_view kSpace = " \t\r\n";
  std::string line;
  while (true) {
    const size_t end = std::min(text.find_first_of("\r\n"), text.size());
    line += text.substr(0, end);
    if (end == text.size()) return line;
    line.erase(line.find_last_not_of(kSpace) + 1);
    text.remove_prefix(std::min(text.find_first_not_of(kSpace, end), text.size()));
    if (!line.empty() && !text.empty()) line += ' ';
  }
}

bool is_date(std::string_view text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return false;
  const auto number = [&](size_t from, size_t count) {
    int value = 0;
    for (char c : text.substr(from, count))
      value = c < '0' || c > '9' ? -100000 : value * 10 + c - '0';
    return value;
  };
  using std::chrono::day, std::chrono::month, std::chrono::year;
  const int y = number(0, 4), m = number(5, 2), d = number(8, 2);
  if (y < 1 || m < 1 || d < 1) return false;
  return (year{y} / month{static_cast<unsigned>(m)} / day{static_cast<unsigned>(d)}).ok();
}

std::optional<std::string> date_of(std::string_view text) {
  if (is_date(text.substr(0, 10)) && ends_or_goes_on(text, 10)) return std::string(text);
  const char separator = text.size() > 4 ? text[4] : '\0';
  if (separator != '-' && separator != '/') return std::nullopt;
  const auto digits = [&](size_t from) {
    return std::min(text.find_first_not_of("0123456789", from), text.size()) - from;
  };
  const size_t month = digits(5), day = 5 + month + 1;
  if (month < 1 || month > 2 || day >= text.size() || text[day - 1] != separator) {
    return std::nullopt;
  }
  const size_t end = day + digits(day);
  const std::string whole = fmt::format("{}-{:0>2}-{:0>2}", text.substr(0, 4),
                                        text.substr(5, month), text.substr(day, end - day));
  if (!is_date(whole) || !ends_or_goes_on(text, end)) return std::nullopt;
  return whole + std::string(text.substr(end));
}

std::string date_of_unix_seconds(int64_t seconds) {
  namespace chrono = std::chrono;
  const chrono::sys_seconds time{chrono::seconds{seconds}};
  const chrono::year_month_day date{chrono::floor<chrono::days>(time)};
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
}

std::string in_quotes(std::string_view value) {
  constexpr size_t kMost = 40;
  std::string line = one_line(value.substr(0, 4 * kMost));
  if (line.size() <= kMost && value.size() <= 4 * kMost) return "'" + line + "'";
  size_t end = std::min(kMost, line.size());
  while (end > 0 && end < line.size() && is_continuation(line[end])) --end;
  return "'" + line.substr(0, end) + "...'";
}

}  // namespace trireme::data
