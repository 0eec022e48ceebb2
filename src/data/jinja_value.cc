#include "data/jinja_value.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <cmath>

#include "data/unicode.h"

namespace trireme::data::jinja {
namespace {

bool equal_items(const std::vector<Value>& left, const std::vector<Value>& right) {
  return std::ranges::equal(left, right, equal);
}

bool equal_dicts(const Dict& left, const Dict& right) {
  if (left.items.size() != right.items.size()) return false;
  return std::ranges::all_of(left.items, [&](const auto& item) {
    const Value* other = right.find(item.first);
    return other != nullptr && equal(item.second, *other);
  });
}

bool printable(char32_t c) {
  if (c == ' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

std::string escape_of(char32_t c, char quote) {
  if (c == '\\' || c == static_cast<char32_t>(quote)) return {'\\', static_cast<char>(c)};
  if (c == '\n') return "\\n";
  if (c == '\r') return "\\r";
  if (c == '\t') return "\\t";
  if (printable(c)) return "";
  if (c < 0x100) return fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
  if (c < 0x10000) return fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
  return fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
}

void append_quoted(Text& out, const Text& text) {
  const bool has_single = text.bytes.find('\'') != std::string::npos;
  const char quote = has_single && text.bytes.find('"') == std::string::npos ? '"' : '\'';
  out.append({&quote, 1}, kOwn);
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const std::string escape = escape_of(next_code_point(text.bytes, at), quote);
    out.append(escape.empty() ? std::string_view(text.bytes).substr(begin, at - begin) : escape,
               text.marks[begin]);
  }
  out.append({&quote, 1}, kOwn);
}

void append_items(Text& out, const std::vector<Value>& items, std::string_view open,
                  std::string_view close) {
  out.append(open, kOwn);
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.append(", ", kOwn);
    append_repr(out, items[i]);
  }
  out.append(close, kOwn);
}

void append_dict(Text& out, const Dict& dict) {
  out.append("{", kOwn);
  for (size_t i = 0; i < dict.items.size(); ++i) {
    if (i > 0) out.append(", ", kOwn);
    append_repr(out, dict.items[i].first);
    out.append(": ", kOwn);
    append_repr(out, dict.items[i].second);
  }
  out.append("}", kOwn);
}

}  // namespace

const Value* Dict::find(const Value& key) const {
  if (key.text() != nullptr) return find(key.text()->bytes);
  const auto found =
      std::ranges::find_if(items, [&](const auto& item) { return equal(item.first, key); });
  return found == items.end() ? nullptr : &found->second;
}

const Value* Dict::find(std::string_view key) const {
  for (const auto& [name, value] : items) {
    if (name.text() != nullptr && name.text()->bytes == key) return &value;
  }
  return nullptr;
}

void Dict::set(const Value& key, Value value) {
  if (const Value* old = find(key)) {
    *const_cast<Value*>(old) = std::move(value);
  } else {
    items.emplace_back(key, std::move(value));
  }
}

const Value* Arguments::find(size_t place, std::string_view name) const {
  if (place < positional.size()) return &positional[place];
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

std::optional<int64_t> Value::integer() const {
  if (const auto* value = std::get_if<int64_t>(&data_)) return *value;
  if (const bool* value = boolean()) return *value ? 1 : 0;
  return std::nullopt;
}

std::optional<double> Value::number() const {
  if (const double* value = real()) return *value;
  if (const auto value = integer()) return static_cast<double>(*value);
  return std::nullopt;
}

Value undefined(std::string why) {
  return Undefined{std::make_shared<const std::string>(std::move(why))};
}

Value text(std::string_view own) { return Text(own); }

bool truthy(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (const auto number = value.number()) return *number != 0;
  if (value.text() != nullptr) return !value.text()->empty();
  if (value.sequence() != nullptr) return !value.sequence()->items.empty();
  if (value.dict() != nullptr) return !value.dict()->items.empty();
  return true;
}

bool equal(const Value& left, const Value& right) {
  if (left.integer() && right.integer()) return *left.integer() == *right.integer();
  if (left.number() && right.number()) return *left.number() == *right.number();
  if (left.data().index() != right.data().index()) return false;
  if (left.text() != nullptr) return left.text()->bytes == right.text()->bytes;
  if (const Sequence* items = left.sequence()) {
    return items->tuple == right.sequence()->tuple &&
           equal_items(items->items, right.sequence()->items);
  }
  if (left.dict() != nullptr) return equal_dicts(*left.dict(), *right.dict());
  if (left.space() != nullptr) return left.space() == right.space();
  if (left.generator() != nullptr) return left.generator() == right.generator();
  if (left.loop() != nullptr) return left.loop() == right.loop();
  if (left.callable() != nullptr) return left.callable() == right.callable();
  return true;  // none, undefined
}

bool less(const Value& left, const Value& right) {
  if (left.integer() && right.integer()) return *left.integer() < *right.integer();
  if (left.number() && right.number()) return *left.number() < *right.number();
  if (left.text() != nullptr && right.text() != nullptr) {
    return left.text()->bytes < right.text()->bytes;  // UTF-8 has the order of its code points
  }
  const Sequence *a = left.sequence(), *b = right.sequence();
  if (a != nullptr && b != nullptr && a->tuple == b->tuple) {
    const size_t both = std::min(a->items.size(), b->items.size());
    for (size_t i = 0; i < both; ++i) {
      if (!equal(a->items[i], b->items[i])) return less(a->items[i], b->items[i]);
    }
    return a->items.size() < b->items.size();
  }
  for (const Value* side : {&left, &right}) {
    if (side->is_undefined()) throw RenderError(side->why_undefined());
  }
  throw RenderError(fmt::format("'<' not supported between instances of '{}' and '{}'",
                                type_name(left), type_name(right)));
}

const char* type_name(const Value& value) {
  if (value.sequence() != nullptr) return value.sequence()->tuple ? "tuple" : "list";
  static constexpr const char* kNames[] = {"Undefined", "NoneType",  "bool",        "int",
                                           "float",     "str",       "list",        "dict",
                                           "generator", "Namespace", "LoopContext", "function"};
  return kNames[value.data().index()];
}

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  std::string digits = fmt::format("{}", value);
  if (digits.find_first_of(".en") == std::string::npos) digits += ".0";
  return digits;
}

void append_repr(Text& out, const Value& value) {
  if (value.text() != nullptr) return append_quoted(out, *value.text());
  if (const Sequence* list = value.sequence()) {
    if (!list->tuple) return append_items(out, list->items, "[", "]");
    return append_items(out, list->items, "(", list->items.size() == 1 ? ",)" : ")");
  }
  if (value.dict() != nullptr) return append_dict(out, *value.dict());
  if (value.is_undefined()) return out.append("Undefined", kOwn);
  out.append(to_text(value));
}

Text to_text(const Value& value) {
  if (value.text() != nullptr) return *value.text();
  if (value.is_undefined()) return Text("");
  if (value.is_none()) return Text("None");
  if (const bool* flag = value.boolean()) return Text(*flag ? "True" : "False");
  if (const auto integer = value.integer()) return Text(std::to_string(*integer));
  if (const double* real = value.real()) return Text(float_repr(*real));
  if (value.sequence() == nullptr && value.dict() == nullptr) {
    // Python shows an address here, which no two runs share.
    throw RenderError(fmt::format("a {} written as text", type_name(value)));
  }
  Text out;
  append_repr(out, value);
  return out;
}

std::vector<Value> iterate(const Value& value) {
  if (value.is_undefined()) return {};
  if (value.sequence() != nullptr) return value.sequence()->items;
  if (value.generator() != nullptr) return std::exchange(value.generator()->items, {});
  std::vector<Value> items;
  if (const Dict* dict = value.dict()) {
    for (const auto& [key, entry] : dict->items) items.push_back(key);
    return items;
  }
  if (const Text* string = value.text()) {
    const std::vector<size_t> starts = code_points(string->bytes);
    for (size_t i = 0; i + 1 < starts.size(); ++i) {
      items.emplace_back(string->substr(starts[i], starts[i + 1] - starts[i]));
    }
    return items;
  }
  throw RenderError(fmt::format("'{}' object is not iterable", type_name(value)));
}

}  // namespace trireme::data::jinja
