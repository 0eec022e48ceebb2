// JSON to values, and values to JSON as json.dumps writes it, with the marks of the strings.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "data/jinja_value.h"
#include "data/unicode.h"

namespace trireme::data::jinja {
namespace {

std::string escape_of(char32_t c, bool ensure_ascii) {
  switch (c) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    default:
      break;
  }
  const auto code = static_cast<uint32_t>(c);
  if (code >= 0x20 && (code < 0x7F || !ensure_ascii)) return "";
  if (code < 0x10000) return fmt::format("\\u{:04x}", code);
  return fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((code - 0x10000) >> 10),
                     0xDC00 + ((code - 0x10000) & 0x3FF));
}

class Writer {
 public:
  explicit Writer(const JsonStyle& style) : style_(style) {
    item_ = style.item_separator.value_or(style.indent ? "," : ", ");
    key_ = style.key_separator.value_or(": ");
  }

  void write(const Value& value) {
    if (value.text() != nullptr) return string(*value.text());
    if (const Sequence* list = value.sequence()) {
      return body('[', ']', list->items.size(), [&](size_t i) { write(list->items[i]); });
    }
    if (value.dict() != nullptr) return dict(*value.dict());
    own(scalar(value));
  }

  Text out;

 private:
  void own(std::string_view text) { out.append(text, kOwn); }

  static std::string scalar(const Value& value) {
    if (value.is_none()) return "null";
    if (const bool* flag = value.boolean()) return *flag ? "true" : "false";
    if (const auto integer = value.integer()) return std::to_string(*integer);
    if (const double* real = value.real()) {
      if (std::isnan(*real)) return "NaN";
      if (std::isinf(*real)) return *real < 0 ? "-Infinity" : "Infinity";
      return float_repr(*real);
    }
    throw RenderError(fmt::format("Object of type {} is not JSON serializable", type_name(value)));
  }

  void string(const Text& text) {
    own("\"");
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      const std::string escape = escape_of(next_code_point(text.bytes, at), style_.ensure_ascii);
      out.append(escape.empty() ? std::string_view(text.bytes).substr(begin, at - begin) : escape,
                 text.marks[begin]);
    }
    own("\"");
  }

  void new_line() {
    if (!style_.indent) return;
    own("\n");
    for (int level = 0; level < level_; ++level) own(*style_.indent);
  }

  template <typename Item>
  void body(char open, char close, size_t count, const Item& item) {
    own({&open, 1});
    ++level_;
    for (size_t i = 0; i < count; ++i) {
      if (i > 0) own(item_);
      new_line();
      item(i);
    }
    --level_;
    if (count > 0) new_line();
    own({&close, 1});
  }

  void dict(const Dict& dict) {
    std::vector<std::pair<Value, Value>> items = dict.items;
    if (style_.sort_keys) {
      std::ranges::stable_sort(items,
                               [](const auto& a, const auto& b) { return less(a.first, b.first); });
    }
    body('{', '}', items.size(), [&](size_t i) {
      const Value& key = items[i].first;
      string(key.text() != nullptr ? *key.text() : Text(scalar(key)));
      own(key_);
      write(items[i].second);
    });
  }

  const JsonStyle& style_;
  std::string item_, key_;
  int level_ = 0;
};

}  // namespace

Text to_json(const Value& value, const JsonStyle& style) {
  Writer writer(style);
  writer.write(value);
  return std::move(writer.out);
}

Value from_json(const config::Json& json, Mark mark) {
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_float()) return json.get<double>();
  if (json.is_number_unsigned() && json.get<uint64_t>() > INT64_MAX) return json.get<double>();
  if (json.is_number()) return json.get<int64_t>();
  if (json.is_string()) return Text(json.get_ref<const std::string&>(), mark);
  if (json.is_array()) {
    Sequence list;
    for (const config::Json& item : json) list.items.push_back(from_json(item, mark));
    return list;
  }
  if (json.is_object()) {
    Dict dict;
    for (const auto& [key, item] : json.items()) {
      dict.items.emplace_back(Text(key, mark), from_json(item, mark));
    }
    return dict;
  }
  return {};
}

}  // namespace trireme::data::jinja
