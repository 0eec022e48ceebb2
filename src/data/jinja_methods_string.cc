// The methods of strings.
#include <fmt/format.h>

#include <algorithm>

#include "data/jinja_library.h"
#include "data/jinja_methods.h"
#include "data/unicode.h"

namespace trireme::data::jinja {
namespace {

const Text& string_argument(const Arguments& arguments, size_t place, std::string_view name) {
  const Value* value = arguments.find(place, name);
  if (value == nullptr) throw RenderError(fmt::format("the argument '{}' is missing", name));
  if (value->is_undefined()) throw RenderError(value->why_undefined());
  if (value->text() == nullptr) {
    throw RenderError(
        fmt::format("the argument '{}' must be str, not {}", name, type_name(*value)));
  }
  return *value->text();
}

int64_t integer_argument(const Arguments& arguments, size_t place, std::string_view name,
                         int64_t otherwise) {
  const Value* value = arguments.find(place, name);
  if (value == nullptr) return otherwise;
  if (!value->integer()) throw RenderError(fmt::format("the argument '{}' must be int", name));
  return *value->integer();
}

template <Side side>
Value strip_method(Renderer& render, const Value& self, const Arguments& arguments) {
  render.charge_bytes(self.text()->size());
  const Value* chars = arguments.find(0, "chars");
  if (chars == nullptr || chars->is_none()) return strip(*self.text(), side);
  return strip(*self.text(), side, &string_argument(arguments, 0, "chars").bytes);
}

template <Case which>
Value case_method(Renderer& render, const Value& self, const Arguments&) {
  render.charge_bytes(self.text()->size() * 16);
  return with_case(*self.text(), which);
}

Value capitalize(Renderer& render, const Value& self, const Arguments&) {
  render.charge_bytes(self.text()->size() * 16);
  size_t first = 0;
  const Text& all = *self.text();
  if (!all.empty()) next_code_point(all.bytes, first);
  Text result = with_case(all.substr(0, first), Case::kTitle);
  result.append(with_case(all.substr(first), Case::kLower));
  return result;
}

Value title(Renderer& render, const Value& self, const Arguments&) {
  render.charge_bytes(self.text()->size() * 16);
  Text result;
  bool in_word = false;
  const Text& all = *self.text();
  for (size_t at = 0; at < all.size();) {
    const size_t begin = at;
    const char32_t c = next_code_point(all.bytes, at);
    result.append(with_case(all.substr(begin, at - begin), in_word ? Case::kLower : Case::kTitle));
    in_word = is_cased_or_number(c);
  }
  return result;
}

Sequence split_space(const Text& all, int64_t most) {
  Sequence parts;
  Text rest = strip(all, Side::kLeft);
  while (!rest.empty()) {
    if (most >= 0 && static_cast<int64_t>(parts.items.size()) == most) {
      parts.items.emplace_back(rest);
      break;
    }
    size_t end = 0;
    for (size_t next = 0; end < rest.size(); end = next) {
      if (is_space(next_code_point(rest.bytes, next))) break;
    }
    parts.items.emplace_back(rest.substr(0, end));
    rest = strip(rest.substr(end), Side::kLeft);
  }
  return parts;
}

Value split(Renderer& render, const Value& self, const Arguments& arguments) {
  const Text& all = *self.text();
  render.charge_bytes(all.size());
  const int64_t most = integer_argument(arguments, 1, "maxsplit", -1);
  const Value* given = arguments.find(0, "sep");
  if (given == nullptr || given->is_none()) {
    if (most < 0) {  // one pass, where the other copies what is left for each word
      Sequence words;
      size_t begin = 0;
      bool in_word = false;
      for (size_t at = 0; at <= all.size();) {
        const size_t here = at;
        const bool space = at == all.size() || is_space(next_code_point(all.bytes, at));
        if (space && in_word) words.items.emplace_back(all.substr(begin, here - begin));
        if (!space && !in_word) begin = here;
        in_word = !space;
        if (here == all.size()) break;
      }
      render.charge(static_cast<int64_t>(words.items.size()));
      return words;
    }
    render.charge_bytes(all.size() * static_cast<size_t>(std::min<int64_t>(most, 1000)));
    return split_space(all, most);
  }
  const std::string& separator = string_argument(arguments, 0, "sep").bytes;
  if (separator.empty()) throw RenderError("empty separator");
  Sequence parts;
  size_t from = 0;
  while (most < 0 || static_cast<int64_t>(parts.items.size()) < most) {
    const size_t at = all.bytes.find(separator, from);
    if (at == std::string::npos) break;
    parts.items.emplace_back(all.substr(from, at - from));
    from = at + separator.size();
  }
  parts.items.emplace_back(all.substr(from));
  render.charge(static_cast<int64_t>(parts.items.size()));
  return parts;
}

Value right_split(Renderer& render, const Value& self, const Arguments& arguments) {
  const Text& all = *self.text();
  render.charge_bytes(all.size());
  const std::string& separator = string_argument(arguments, 0, "sep").bytes;
  if (separator.empty()) throw RenderError("empty separator");
  const int64_t most = integer_argument(arguments, 1, "maxsplit", -1);
  Sequence parts;
  size_t end = all.size();
  while (most < 0 || static_cast<int64_t>(parts.items.size()) < most) {
    if (end < separator.size()) break;
    const size_t at = all.bytes.rfind(separator, end - separator.size());
    if (at == std::string::npos) break;
    parts.items.emplace_back(all.substr(at + separator.size(), end - at - separator.size()));
    end = at;
  }
  parts.items.emplace_back(all.substr(0, end));
  std::ranges::reverse(parts.items);
  render.charge(static_cast<int64_t>(parts.items.size()));
  return parts;
}

template <bool from_end>
Value partition(Renderer&, const Value& self, const Arguments& arguments) {
  const Text& all = *self.text();
  const Text& separator = string_argument(arguments, 0, "sep");
  if (separator.empty()) throw RenderError("empty separator");
  const size_t at = from_end ? all.bytes.rfind(separator.bytes) : all.bytes.find(separator.bytes);
  if (at == std::string::npos) {
    if (from_end) return Sequence{.items = {text(""), text(""), all}, .tuple = true};
    return Sequence{.items = {all, text(""), text("")}, .tuple = true};
  }
  return Sequence{.items = {all.substr(0, at), all.substr(at, separator.size()),
                            all.substr(at + separator.size())},
                  .tuple = true};
}

template <bool at_end>
Value has_affix(Renderer&, const Value& self, const Arguments& arguments) {
  const std::string_view all = self.text()->bytes;
  const auto fits = [&](const Text& affix) {
    return at_end ? all.ends_with(affix.bytes) : all.starts_with(affix.bytes);
  };
  const Value* given = arguments.find(0, "prefix");
  if (given == nullptr || given->sequence() == nullptr || !given->sequence()->tuple) {
    return fits(string_argument(arguments, 0, "prefix"));
  }
  return std::ranges::any_of(given->sequence()->items, [&](const Value& each) {
    if (each.text() == nullptr) throw RenderError("a tuple of affixes must be of str");
    return fits(*each.text());
  });
}

template <bool at_end>
Value remove_affix(Renderer&, const Value& self, const Arguments& arguments) {
  const Text& all = *self.text();
  const std::string& affix = string_argument(arguments, 0, "prefix").bytes;
  if (at_end ? !all.bytes.ends_with(affix) : !all.bytes.starts_with(affix)) return all;
  return at_end ? all.substr(0, all.size() - affix.size()) : all.substr(affix.size());
}

Value replace_method(Renderer& render, const Value& self, const Arguments& arguments) {
  const Text& old = string_argument(arguments, 0, "old");
  const Text& with = string_argument(arguments, 1, "new");
  const int64_t most = integer_argument(arguments, 2, "count", -1);
  // What an empty `old` inserts is bounded by this too.
  if (with.size() > 0) render.charge_bytes(self.text()->size() * (old.empty() ? with.size() : 1));
  Text result = replace(*self.text(), old.bytes, with, most);
  render.charge_bytes(result.size());
  return result;
}

template <bool from_end, bool required>
Value find(Renderer& render, const Value& self, const Arguments& arguments) {
  render.charge_bytes(self.text()->size());
  const std::string& what = string_argument(arguments, 0, "sub").bytes;
  if (arguments.positional.size() > 1) throw RenderError("find with bounds is not supported");
  const std::string& all = self.text()->bytes;
  const size_t at = from_end ? all.rfind(what) : all.find(what);
  if (at != std::string::npos) {
    return count_code_points(std::string_view(all).substr(0, at));
  }
  if (required) throw RenderError("substring not found");
  return -1;
}

Value count(Renderer& render, const Value& self, const Arguments& arguments) {
  render.charge_bytes(self.text()->size());
  const std::string& what = string_argument(arguments, 0, "sub").bytes;
  const std::string& all = self.text()->bytes;
  if (what.empty()) return count_code_points(all) + 1;
  int64_t found = 0;
  for (size_t at = all.find(what); at != all.npos; at = all.find(what, at + what.size())) ++found;
  return found;
}

Value join(Renderer& render, const Value& self, const Arguments& arguments) {
  const Value* items = arguments.find(0, "iterable");
  if (items == nullptr) throw RenderError("join() takes exactly one argument");
  Text result;
  bool first = true;
  for (const Value& item : iterate(*items)) {
    if (item.text() == nullptr) {
      throw RenderError(
          fmt::format("sequence item: expected str instance, {} found", type_name(item)));
    }
    if (!first) result.append(*self.text());
    first = false;
    result.append(*item.text());
    render.charge(1);
  }
  render.charge_bytes(result.size());
  return result;
}

Value split_lines_method(Renderer& render, const Value& self, const Arguments& given) {
  const Value* keep = given.find(0, "keepends");
  if (keep != nullptr && truthy(*keep))
    throw RenderError("splitlines with keepends is not supported");
  Sequence lines;
  for (Text& line : split_lines(*self.text())) lines.items.emplace_back(std::move(line));
  render.charge(static_cast<int64_t>(lines.items.size()));
  return lines;
}

template <bool (*holds)(char32_t)>
Value all_are(Renderer& render, const Value& self, const Arguments&) {
  const std::string& all = self.text()->bytes;
  render.charge_bytes(all.size());
  for (size_t at = 0; at < all.size();) {
    if (!holds(next_code_point(all, at))) return false;
  }
  return !all.empty();
}
bool is_ascii_digit(char32_t c) { return c >= '0' && c <= '9'; }

template <Case which>
Value is_case(Renderer& render, const Value& self, const Arguments& arguments) {
  const Value changed = case_method<which>(render, self, arguments);
  constexpr Case kOther = which == Case::kLower ? Case::kUpper : Case::kLower;
  const Value other = case_method<kOther>(render, self, arguments);
  return equal(changed, self) && !equal(other, self);
}

Value format(Renderer& render, const Value& self, const Arguments& arguments) {
  Text result = brace_format(render, *self.text(), arguments);
  render.charge_bytes(result.size());
  return result;
}

}  // namespace

const Methods& string_methods() {
  static const Methods kMethods = {{"strip", strip_method<Side::kBoth>},
                                   {"lstrip", strip_method<Side::kLeft>},
                                   {"rstrip", strip_method<Side::kRight>},
                                   {"lower", case_method<Case::kLower>},
                                   {"casefold", case_method<Case::kLower>},
                                   {"upper", case_method<Case::kUpper>},
                                   {"capitalize", capitalize},
                                   {"title", title},
                                   {"split", split},
                                   {"rsplit", right_split},
                                   {"partition", partition<false>},
                                   {"rpartition", partition<true>},
                                   {"startswith", has_affix<false>},
                                   {"endswith", has_affix<true>},
                                   {"removeprefix", remove_affix<false>},
                                   {"removesuffix", remove_affix<true>},
                                   {"replace", replace_method},
                                   {"find", find<false, false>},
                                   {"rfind", find<true, false>},
                                   {"index", find<false, true>},
                                   {"rindex", find<true, true>},
                                   {"count", count},
                                   {"join", join},
                                   {"splitlines", split_lines_method},
                                   {"isdigit", all_are<is_ascii_digit>},
                                   {"isspace", all_are<is_space>},
                                   {"islower", is_case<Case::kLower>},
                                   {"isupper", is_case<Case::kUpper>},
                                   {"format", format}};
  return kMethods;
}

}  // namespace trireme::data::jinja
