// "%05.1f" % x and "{:>8}".format(x): the part of Python's two languages that templates use.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "data/jinja_library.h"
#include "data/unicode.h"

namespace trireme::data::jinja {
namespace {

constexpr int kWidest = 1000;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

struct Spec {
  char fill = ' ';
  char align = '\0';  // of < > ^, '\0': numbers right, strings left
  char sign = '-';
  bool zeros = false, commas = false;
  int width = 0, precision = -1;
  char type = '\0';
};

int take_number(std::string_view text, size_t& at) {
  int value = 0;
  for (; at < text.size() && is_digit(text[at]); ++at) {
    value = value * 10 + (text[at] - '0');
    if (value > kWidest) throw RenderError("a width or precision that is too large");
  }
  return value;
}

std::string with_commas(const std::string& digits) {
  const size_t point = std::min(digits.find_first_of(".e"), digits.size());
  std::string result = digits;
  for (size_t at = point; at > 3;) {
    at -= 3;
    if (is_digit(result[at - 1])) result.insert(at, ",");
  }
  return result;
}

std::string real_digits(const Spec& spec, double value) {
  const int precision = spec.precision < 0 ? 6 : spec.precision;
  switch (spec.type) {
    case 'f':
    case 'F':
      return fmt::format("{:.{}f}", value, precision);
    case 'e':
      return fmt::format("{:.{}e}", value, precision);
    case 'g':
      return fmt::format("{:.{}g}", value, precision);
    case '%':
      return fmt::format("{:.{}f}%", value * 100, precision);
    case '\0':
      return spec.precision < 0 ? float_repr(value) : fmt::format("{:.{}g}", value, precision);
    default:
      throw RenderError(fmt::format("the format '{}' of a float is not supported", spec.type));
  }
}

std::string whole_digits(const Spec& spec, int64_t value) {
  switch (spec.type) {
    case 'x':
      return fmt::format("{:x}", value);
    case 'X':
      return fmt::format("{:X}", value);
    case 'o':
      return fmt::format("{:o}", value);
    case 'b':
      return fmt::format("{:b}", value);
    case 'd':
    case '\0':
      return fmt::format("{}", value);
    default:
      return real_digits(spec, static_cast<double>(value));
  }
}

Text padded(const Spec& spec, const Text& text, char otherwise) {
  const auto length = static_cast<int>(count_code_points(text.bytes));
  const int space = std::max(0, spec.width - length);
  const char align = spec.align == '\0' ? otherwise : spec.align;
  const int left = align == '<' ? 0 : align == '^' ? space / 2 : space;
  Text result(std::string(static_cast<size_t>(left), spec.fill));
  result.append(text);
  result.append(std::string(static_cast<size_t>(space - left), spec.fill), kOwn);
  return result;
}

Text number_text(const Spec& spec, const Value& value) {
  std::string digits = value.real() != nullptr ? real_digits(spec, *value.real())
                                               : whole_digits(spec, *value.integer());
  std::string sign;
  if (digits.starts_with('-')) {
    sign = "-";
    digits.erase(0, 1);
  } else if (spec.sign != '-') {
    sign = spec.sign;
  }
  if (spec.commas) digits = with_commas(digits);
  if (spec.zeros && spec.align == '\0') {
    const size_t width =
        static_cast<size_t>(spec.width) - std::min<size_t>(spec.width, sign.size());
    if (digits.size() < width) digits.insert(0, width - digits.size(), '0');
  }
  return padded(spec, Text(sign + digits), '>');
}

Text formatted(const Spec& spec, const Value& value) {
  const bool number = value.number() && (value.boolean() == nullptr || spec.type != '\0');
  if (number && spec.type != 's') return number_text(spec, value);
  if (spec.type != '\0' && spec.type != 's') {
    throw RenderError(fmt::format("the format '{}' of a {}", spec.type, type_name(value)));
  }
  Text text = to_text(value);
  if (spec.precision >= 0) {
    const std::vector<size_t> starts = code_points(text.bytes);
    text = text.substr(0, starts[std::min<size_t>(spec.precision, starts.size() - 1)]);
  }
  return padded(spec, text, '<');
}

Spec brace_spec(std::string_view text) {
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^'; };
  Spec spec;
  size_t at = 0;
  if (text.size() > 1 && is_align(text[1])) {
    spec.fill = text[0];
    spec.align = text[1];
    at = 2;
  } else if (!text.empty() && is_align(text[0])) {
    spec.align = text[at++];
  }
  if (at < text.size() && (text[at] == '+' || text[at] == ' ' || text[at] == '-')) {
    spec.sign = text[at++];
  }
  if (at < text.size() && text[at] == '0') spec.zeros = true;
  spec.width = take_number(text, at);
  if (at < text.size() && text[at] == ',') {
    spec.commas = true;
    ++at;
  }
  if (at < text.size() && text[at] == '.') spec.precision = take_number(text, ++at);
  if (at < text.size()) spec.type = text[at++];
  if (at < text.size()) throw RenderError("Invalid format specifier");
  return spec;
}

class Braces {
 public:
  Braces(Renderer& render, const Arguments& given) : render_(render), given_(given) {}

  // name, .attribute and [item], then !r or !s, then :spec.
  Text field(std::string_view text) {
    const size_t colon = std::min(text.find(':'), text.size());
    const Spec spec = brace_spec(colon < text.size() ? text.substr(colon + 1) : "");
    text = text.substr(0, colon);
    const size_t bang = std::min(text.find('!'), text.size());
    Value found = value(text.substr(0, bang));
    if (text.substr(bang) == "!r") {
      Text repr;
      append_repr(repr, found);
      found = std::move(repr);
    }
    return formatted(spec, found);
  }

 private:
  Value value(std::string_view path) {
    const size_t end = std::min(path.find_first_of(".["), path.size());
    const std::string name(path.substr(0, end));
    Value found = root(name);
    if (end == path.size()) return found;
    if (path[end] == '.') {
      return attribute_path(render_, found, text(path.substr(end + 1)));
    }
    if (!path.ends_with(']')) throw RenderError("expected ']' in a format");
    return attribute_path(render_, found, text(path.substr(end + 1, path.size() - end - 2)));
  }

  Value root(const std::string& name) {
    size_t index = next_;
    if (name.empty()) {
      ++next_;
    } else if (std::ranges::all_of(name, is_digit)) {
      size_t at = 0;
      index = static_cast<size_t>(take_number(name, at));
    } else {
      const Value* named = given_.find(given_.positional.size(), name);
      if (named == nullptr) throw RenderError(fmt::format("no argument '{}' to format", name));
      return *named;
    }
    if (index >= given_.positional.size()) throw RenderError("too few arguments to format");
    return given_.positional[index];
  }

  Renderer& render_;
  const Arguments& given_;
  size_t next_ = 0;
};

}  // namespace

Text percent_format(const Text& format, const std::vector<Value>& values) {
  Text result;
  size_t next = 0;
  const std::string_view all = format.bytes;
  for (size_t at = 0; at < all.size();) {
    const size_t sign = std::min(all.find('%', at), all.size());
    result.append(format.substr(at, sign - at));
    at = sign + 1;
    if (sign == all.size()) break;
    if (at < all.size() && all[at] == '%') {
      result.append(format.substr(at++, 1));
      continue;
    }
    Spec spec{.align = '>'};
    for (; at < all.size() && std::string_view("-0+ #").find(all[at]) != all.npos; ++at) {
      if (all[at] == '-') spec.align = '<';
      if (all[at] == '0') spec.zeros = true;
      if (all[at] == '+' || all[at] == ' ') spec.sign = all[at];
    }
    spec.width = take_number(all, at);
    if (at < all.size() && all[at] == '.') spec.precision = take_number(all, ++at);
    if (at >= all.size()) throw RenderError("incomplete format");
    if (next >= values.size()) throw RenderError("not enough arguments for format string");
    const Value& value = values[next++];
    spec.type = all[at] == 'i' ? 'd' : all[at];
    ++at;
    if (spec.type == 'r') {
      Text repr;
      append_repr(repr, value);
      spec.type = 's';
      result.append(formatted(spec, repr));
      continue;
    }
    if (spec.zeros && spec.align == '>') spec.align = '\0';
    if (spec.type == 'd' && value.real() != nullptr) {
      result.append(formatted(spec, static_cast<int64_t>(*value.real())));
    } else {
      if (spec.type != 's' && !value.number()) throw RenderError("a number is required");
      result.append(formatted(spec, value));
    }
  }
  if (next < values.size()) {
    throw RenderError("not all arguments converted during string formatting");
  }
  return result;
}

Text brace_format(Renderer& render, const Text& format, const Arguments& arguments) {
  Text result;
  Braces braces(render, arguments);
  const std::string_view all = format.bytes;
  for (size_t at = 0; at < all.size();) {
    const size_t sign = std::min(all.find_first_of("{}", at), all.size());
    result.append(format.substr(at, sign - at));
    if (sign == all.size()) break;
    at = sign + 1;
    if (at < all.size() && all[at] == all[sign]) {
      result.append(format.substr(at++, 1));
      continue;
    }
    const size_t end = all.find('}', at);
    if (all[sign] == '}' || end == all.npos) throw RenderError("a single brace in a format");
    result.append(braces.field(all.substr(at, end - at)));
    at = end + 1;
  }
  return result;
}

}  // namespace trireme::data::jinja
