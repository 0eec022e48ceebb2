// The filters of strings and numbers, and the table of all.
#include "data/jinja_filters.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <unordered_map>

#include "data/jinja_library.h"
#include "data/unicode.h"

namespace trireme::data::jinja {
namespace {

// The filter of the same name as a method of strings, of what the value is as text.
Value as_method(Renderer& render, const Value& value, const char* name, const Arguments& given) {
  return render.call(*find_method(Value(to_text(value)), name), given);
}
Value upper(Renderer& render, const Value& value, const Arguments&) {
  return as_method(render, value, "upper", {});
}
Value lower(Renderer& render, const Value& value, const Arguments&) {
  return as_method(render, value, "lower", {});
}
Value capitalize(Renderer& render, const Value& value, const Arguments&) {
  return as_method(render, value, "capitalize", {});
}

Value trim(Renderer& render, const Value& value, const Arguments& given) {
  const Value* chars = given.find(0, "chars");
  return as_method(render, value, "strip",
                   {.positional = {chars == nullptr ? Value() : *chars}, .named = {}});
}

Value replace_filter(Renderer& render, const Value& value, const Arguments& given) {
  Arguments as_text;
  for (size_t i = 0; i < 2; ++i) {
    const Value* each = given.find(i, i == 0 ? "old" : "new");
    if (each == nullptr) throw RenderError("replace needs two strings");
    as_text.positional.emplace_back(to_text(*each));
  }
  const Value* count = given.find(2, "count");
  if (count != nullptr && !count->is_none()) as_text.positional.push_back(*count);
  return as_method(render, value, "replace", as_text);
}

// Words begin behind white space and - ( { [ <, unlike with str.title.
Value title(Renderer& render, const Value& value, const Arguments&) {
  const Text all = to_text(value);
  render.charge_bytes(all.size() * 16);
  Text result;
  bool begins = true;
  for (size_t at = 0; at < all.size();) {
    const size_t from = at;
    const char32_t c = next_code_point(all.bytes, at);
    result.append(with_case(all.substr(from, at - from), begins ? Case::kUpper : Case::kLower));
    begins = is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
  }
  return result;
}

Value indent(Renderer& render, const Value& value, const Arguments& given) {
  const Value* width = given.find(0, "width");
  Text space("    ");
  if (width != nullptr && width->text() != nullptr) {
    space = *width->text();
  } else if (width != nullptr) {
    space = *arithmetic(render, "*", text(" "), *width).text();
  }
  const auto flag = [&](size_t place, const char* name) {
    const Value* found = given.find(place, name);
    return found != nullptr && truthy(*found);
  };
  Text all = to_text(value);
  all.append("\n", kOwn);
  const bool blank = flag(2, "blank");
  const std::vector<Text> lines = split_lines(all);
  Text result;
  if (flag(1, "first")) result.append(space);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) result.append("\n", kOwn);
    if (i > 0 && (blank || !lines[i].empty())) result.append(space);
    result.append(lines[i]);
  }
  render.charge_bytes(result.size());
  return result;
}

Value string(Renderer&, const Value& value, const Arguments&) { return to_text(value); }

Value escape(Renderer& render, const Value& value, const Arguments&) {
  const Text all = to_text(value);
  render.charge_bytes(all.size() * 16);
  return all.markup ? all : escaped(all);
}

Value safe(Renderer&, const Value& value, const Arguments&) {
  Text all = to_text(value);
  all.markup = true;
  return all;
}

Value format(Renderer& render, const Value& value, const Arguments& given) {
  if (!given.named.empty()) throw RenderError("format with named arguments is not supported");
  Text result = percent_format(to_text(value), given.positional);
  render.charge_bytes(result.size());
  return result;
}

// A number at the start of a text without white space at its ends; nullopt where there is more.
template <typename Number>
std::optional<Number> parsed(const Value& value) {
  if (value.text() == nullptr) return std::nullopt;
  const Text stripped = strip(*value.text(), Side::kBoth);
  const char* begin = stripped.bytes.data();
  const char* end = begin + stripped.size();
  if (end - begin > 1 && *begin == '+' && begin[1] != '-') ++begin;
  Number number{};
  const auto [rest, error] = std::from_chars(begin, end, number);
  if (error != std::errc() || rest != end) return std::nullopt;
  return number;
}

Value int_filter(Renderer&, const Value& value, const Arguments& given) {
  const Value* otherwise = given.find(0, "default");
  if (given.find(1, "base") != nullptr) throw RenderError("int with a base is not supported");
  if (value.integer()) return *value.integer();
  if (const auto number = parsed<int64_t>(value)) return *number;
  const auto real = value.real() != nullptr ? *value.real() : parsed<double>(value);
  if (real && std::abs(*real) < 9e18) return static_cast<int64_t>(*real);
  return otherwise == nullptr ? Value(0) : *otherwise;
}

Value float_filter(Renderer&, const Value& value, const Arguments& given) {
  const Value* otherwise = given.find(0, "default");
  if (value.number()) return *value.number();
  if (const auto number = parsed<double>(value)) return *number;
  return otherwise == nullptr ? Value(0.0) : *otherwise;
}

Value absolute(Renderer& render, const Value& value, const Arguments&) {
  if (!value.number()) throw RenderError("abs of what is no number");
  return *value.number() < 0 ? arithmetic(render, "-", 0, value) : value;
}

// Half to even, as Python's round: the nearest double of the decimal with that many digits.
Value round(Renderer&, const Value& value, const Arguments& given) {
  if (!value.number()) throw RenderError("round of what is no number");
  if (value.integer()) return *value.integer();
  const Value* digits = given.find(0, "precision");
  const Value* method = given.find(1, "method");
  if (method != nullptr && method->text() != nullptr && method->text()->bytes != "common") {
    throw RenderError("round with a method is not supported");
  }
  const int64_t precision =
      std::clamp<int64_t>(digits == nullptr ? 0 : digits->integer().value_or(0), 0, 300);
  const std::string written = fmt::format("{:.{}f}", *value.number(), precision);
  double result = 0;
  std::from_chars(written.data(), written.data() + written.size(), result);
  return result;
}

Value default_filter(Renderer&, const Value& value, const Arguments& given) {
  const Value* also_false = given.find(1, "boolean");
  const bool missing =
      also_false != nullptr && truthy(*also_false) ? !truthy(value) : value.is_undefined();
  if (!missing) return value;
  const Value* otherwise = given.find(0, "default_value");
  return otherwise == nullptr ? text("") : *otherwise;
}

Value tojson(Renderer& render, const Value& value, const Arguments& given) {
  JsonStyle style;
  const Value* ascii = given.find(0, "ensure_ascii");
  const Value* indent = given.find(1, "indent");
  const Value* separators = given.find(2, "separators");
  const Value* sort = given.find(3, "sort_keys");
  style.ensure_ascii = ascii != nullptr && truthy(*ascii);
  style.sort_keys = sort != nullptr && truthy(*sort);
  if (indent != nullptr && indent->text() != nullptr) {
    style.indent = indent->text()->bytes;
  } else if (indent != nullptr && indent->integer()) {
    style.indent =
        std::string(static_cast<size_t>(std::clamp<int64_t>(*indent->integer(), 0, 64)), ' ');
  }
  if (separators != nullptr && !separators->is_none()) {
    const std::vector<Value> two = iterate(*separators);
    if (two.size() != 2 || two[0].text() == nullptr || two[1].text() == nullptr) {
      throw RenderError("separators must be two strings");
    }
    style.item_separator = two[0].text()->bytes;
    style.key_separator = two[1].text()->bytes;
  }
  Text result = to_json(value, style);
  render.charge_bytes(result.size() * 16);
  return result;
}

Value attr(Renderer& render, const Value& value, const Arguments& given) {
  const Value* name = given.find(0, "name");
  if (name == nullptr) throw RenderError("attr needs a name");
  if (value.dict() != nullptr) return undefined("a dict has no attributes of its entries");
  return attribute(render, value, to_text(*name).bytes);
}

const std::unordered_map<std::string_view, Filter> kFilters = {{"abs", absolute},
                                                               {"attr", attr},
                                                               {"capitalize", capitalize},
                                                               {"count", filters::length},
                                                               {"d", default_filter},
                                                               {"default", default_filter},
                                                               {"dictsort", filters::dictsort},
                                                               {"e", escape},
                                                               {"escape", escape},
                                                               {"first", filters::first},
                                                               {"float", float_filter},
                                                               {"format", format},
                                                               {"indent", indent},
                                                               {"int", int_filter},
                                                               {"items", filters::items},
                                                               {"join", filters::join},
                                                               {"last", filters::last},
                                                               {"length", filters::length},
                                                               {"list", filters::list},
                                                               {"lower", lower},
                                                               {"map", filters::map},
                                                               {"max", filters::max},
                                                               {"min", filters::min},
                                                               {"reject", filters::reject},
                                                               {"rejectattr", filters::rejectattr},
                                                               {"replace", replace_filter},
                                                               {"reverse", filters::reverse},
                                                               {"round", round},
                                                               {"safe", safe},
                                                               {"select", filters::select},
                                                               {"selectattr", filters::selectattr},
                                                               {"sort", filters::sort},
                                                               {"string", string},
                                                               {"sum", filters::sum},
                                                               {"title", title},
                                                               {"tojson", tojson},
                                                               {"trim", trim},
                                                               {"unique", filters::unique},
                                                               {"upper", upper}};

constexpr std::array<std::string_view, 15> kMissing = {
    "batch",     "center", "filesizeformat", "forceescape", "groupby",
    "pprint",    "random", "slice",          "striptags",   "truncate",
    "urlencode", "urlize", "wordcount",      "wordwrap",    "xmlattr"};

}  // namespace

Filter find_filter(std::string_view name) {
  const auto found = kFilters.find(name);
  return found == kFilters.end() ? nullptr : found->second;
}

bool is_filter_of_jinja(std::string_view name) { return std::ranges::count(kMissing, name) > 0; }

}  // namespace trireme::data::jinja
