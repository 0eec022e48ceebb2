// What every input file is checked for before it is parsed, and where in it something stands.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trireme::data {

// Both count from 1; the column counts characters, as editors do.
struct TextPosition {
  int64_t line = 1;
  int64_t column = 1;
};

// O(offset): for messages only.
TextPosition locate(std::string_view text, size_t offset);

// "name:line:column", how every message about a place in a file begins.
std::string place_text(const std::string& name, std::string_view text, size_t offset);

// Throws UserError for NUL bytes, UTF-16, and bytes that are not UTF-8 (a GBK copy, a file cut
// inside a character).
void require_utf8(std::string_view text, const std::string& name);

std::string_view without_bom(std::string_view text);

// Only white space, the ideographic space and zero-width characters included.
bool is_blank(std::string_view text);

// Runs of line breaks and the white space around them become one space.
std::string one_line(std::string_view text);

// A day of the calendar as YYYY-MM-DD.
bool is_date(std::string_view text);
// The same for a day as tools write it (2016/1/10, 2016-1-10), with the time of day that may follow
// behind a blank or a T left as it is; nullopt for anything else.
std::optional<std::string> date_of(std::string_view text);
// The day in UTC.
std::string date_of_unix_seconds(int64_t seconds);

// A value for a message: quoted, on one line, at most about 40 bytes of it.
std::string in_quotes(std::string_view value);

}  // namespace trireme::data
