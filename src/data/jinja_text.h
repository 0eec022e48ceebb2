// A string of a template whose bytes carry marks: who wrote them. Every operation on a string takes
// the marks along, so that the output still tells what came from the template and what from a
// message, through filters, joins and slices.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::data::jinja {

// Of a byte: kOwn is the template's own text, the caller gives the meaning of the others below
// kGenerated, which is added to what stands between {% generation %} and {% endgeneration %}.
using Mark = char;
constexpr Mark kOwn = 0;
constexpr Mark kGenerated = 0x40;

struct Text {
  std::string bytes;    // UTF-8
  std::string marks;    // one for each byte
  bool markup = false;  // of the filter `safe`: + with another string escapes that one

  Text() = default;
  explicit Text(std::string_view text, Mark mark = kOwn);

  size_t size() const { return bytes.size(); }
  bool empty() const { return bytes.empty(); }
  Text substr(size_t from, size_t count = std::string::npos) const;
  void append(const Text& other);
  void append(std::string_view text, Mark mark);
};

// Where the code points of `text` begin, and its size.
std::vector<size_t> code_points(std::string_view text);
size_t count_code_points(std::string_view text);

// str.strip, lstrip, rstrip: of white space as Python counts it, or of the code points of `chars`.
enum class Side { kLeft = 1, kRight = 2, kBoth = 3 };
Text strip(const Text& text, Side side, const std::string* chars = nullptr);

// All non-overlapping occurrences of `what`, at most `most` (-1: all) replaced. An empty `what`
// stands between all code points.
Text replace(const Text& text, std::string_view what, const Text& with, int64_t most = -1);

// HTML's & < > ' " as its names for them.
Text escaped(const Text& text);

// str.splitlines() without the line ends.
std::vector<Text> split_lines(const Text& text);

// Simple case mapping (UTF-8 proc's), and the one special case of German.
enum class Case { kLower, kUpper, kTitle };
Text with_case(const Text& text, Case which);
bool is_space(char32_t code_point);  // str.isspace
bool is_cased_or_number(char32_t code_point);

}  // namespace trireme::data::jinja
