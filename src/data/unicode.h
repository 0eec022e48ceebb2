// UTF-8 and the few Unicode properties that tokenizers need.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace trireme::data {

constexpr char32_t kReplacement = 0xFFFD;

// Length in bytes of the well-formed sequence at `text[0]`, or 0. `bad` is then the length of the
// ill-formed prefix that one U+FFFD stands for (the "maximal subpart" of the Unicode standard, 3.9;
// Rust's from_utf8_lossy does the same).
size_t utf8_sequence(std::string_view text, size_t& bad);

// Length of the longest well-formed prefix.
size_t valid_utf8_prefix(std::string_view text);

// Each ill-formed sequence replaced by U+FFFD.
std::string to_valid_utf8(std::string_view text);

// The code point at `position` of valid UTF-8; moves `position` behind it. Other text gives some
// value, and never a read past its end.
char32_t next_code_point(std::string_view text, size_t& position);

void append_utf8(std::string& out, char32_t code_point);

// True when every code point is of a range whose members are never changed by NFC; false says
// nothing.
bool is_surely_nfc(std::string_view text);

// UAX #15.
enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
std::string normal_form(std::string_view text, NormalForm form);

// Canonical composition (UAX #15) of valid UTF-8, by utf8proc's Unicode version. The `tokenizers`
// package has an older one (about 10) and leaves combining marks assigned since in their order.
std::string nfc(std::string_view text);

// \w of Unicode's regular expressions (UTS #18): letters, marks, decimal digits, connectors.
bool is_word_character(char32_t code_point);

// The Unicode property White_Space.
bool is_white_space(char32_t code_point);

// Bytes of white space.
size_t space_at_start(std::string_view text);
size_t space_at_end(std::string_view text);

// What Unicode's full mapping makes of one character.
std::string to_lower(char32_t code_point);

// Without white space at both ends, as Python's str.strip() (which counts U+001C-U+001F too).
std::string_view strip(std::string_view text);

}  // namespace trireme::data
