// Python's operators on values, attributes and items.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "data/jinja_library.h"

namespace trireme::data::jinja {
namespace {

constexpr size_t kLongest = size_t{1}
                            << 20;  // of what * repeats: bytes of a string, items of a list

[[noreturn]] void no_operator(const std::string& op, const Value& left, const Value& right) {
  for (const Value* side : {&left, &right}) {
    if (side->is_undefined()) throw RenderError(side->why_undefined());
  }
  throw RenderError(fmt::format("unsupported operand type(s) for {}: '{}' and '{}'", op,
                                type_name(left), type_name(right)));
}

int64_t checked(bool overflows, int64_t value) {
  if (overflows) throw RenderError("an integer of more than 64 bits");
  return value;
}

int64_t floor_divide(int64_t left, int64_t right) {
  if (right == 0) throw RenderError("division by zero");
  if (right == -1) {
    int64_t negative = 0;
    const bool overflows = __builtin_sub_overflow(int64_t{0}, left, &negative);
    return checked(overflows, negative);
  }
  const int64_t quotient = left / right;
  return quotient - ((left % right != 0) && ((left < 0) != (right < 0)) ? 1 : 0);
}

Value power(int64_t base, int64_t exponent) {
  if (exponent < 0) return std::pow(static_cast<double>(base), static_cast<double>(exponent));
  int64_t result = 1;
  bool overflows = false;
  for (int64_t i = 0; i < exponent && !overflows && result != 0; ++i) {
    if (base == 1 || (base == -1 && exponent % 2 == 0)) break;
    if (base == -1) return -1;
    overflows = __builtin_mul_overflow(result, base, &result);
  }
  return checked(overflows, result);
}

Value integers(const std::string& op, int64_t left, int64_t right) {
  int64_t result = 0;
  bool overflows = false;
  if (op == "+") overflows = __builtin_add_overflow(left, right, &result);
  if (op == "-") overflows = __builtin_sub_overflow(left, right, &result);
  if (op == "*") overflows = __builtin_mul_overflow(left, right, &result);
  if (op == "//") return floor_divide(left, right);
  if (op == "%") return right == -1 ? 0 : left - floor_divide(left, right) * right;
  if (op == "**") return power(left, right);
  if (op == "/") {
    if (right == 0) throw RenderError("division by zero");
    return static_cast<double>(left) / static_cast<double>(right);
  }
  return checked(overflows, result);
}

Value reals(const std::string& op, double left, double right) {
  if (op == "+") return left + right;
  if (op == "-") return left - right;
  if (op == "*") return left * right;
  if (op == "**") return std::pow(left, right);
  if (right == 0) throw RenderError("float division by zero");
  if (op == "/") return left / right;
  const double quotient = std::floor(left / right);
  return op == "//" ? quotient : left - quotient * right;
}

void require_short(size_t size, int64_t times) {
  if (times > 0 && size > kLongest / static_cast<size_t>(times)) {
    throw RenderError("a string or a list that is too long");
  }
}

Value repeated(Renderer& render, const Value& value, int64_t times) {
  if (const Text* one = value.text()) {
    require_short(one->size(), times);
    Text result;
    for (int64_t i = 0; i < times && !one->empty(); ++i) result.append(*one);
    render.charge_bytes(result.size());
    return result;
  }
  const Sequence& one = *value.sequence();
  require_short(one.items.size(), times);
  Sequence result{.items = {}, .tuple = one.tuple};
  for (int64_t i = 0; i < times && !one.items.empty(); ++i) {
    render.charge(static_cast<int64_t>(one.items.size()));
    result.items.insert(result.items.end(), one.items.begin(), one.items.end());
  }
  return result;
}

// nullopt where the two have no sum of this kind.
std::optional<Value> joined(Renderer& render, const Value& left, const Value& right) {
  if (left.text() != nullptr && right.text() != nullptr) {
    const bool markup = left.text()->markup || right.text()->markup;
    const auto part = [&](const Text& text) {
      if (!markup || text.markup) return text;
      render.charge_bytes(text.size() * 16);
      return escaped(text);
    };
    render.charge_bytes(left.text()->size() + right.text()->size());
    Text result = part(*left.text());
    result.append(part(*right.text()));
    result.markup = markup;
    return result;
  }
  const Sequence *a = left.sequence(), *b = right.sequence();
  if (a == nullptr || b == nullptr || a->tuple != b->tuple) return std::nullopt;
  render.charge(static_cast<int64_t>(a->items.size() + b->items.size()));
  Sequence result = *a;
  result.items.insert(result.items.end(), b->items.begin(), b->items.end());
  return result;
}

// The index of Python's s[i]; nullopt outside.
std::optional<size_t> place(int64_t index, size_t size) {
  if (index < 0) index += static_cast<int64_t>(size);
  if (index < 0 || index >= static_cast<int64_t>(size)) return std::nullopt;
  return static_cast<size_t>(index);
}

Value at_index(const Value& object, int64_t index) {
  if (const Sequence* list = object.sequence()) {
    if (const auto found = place(index, list->items.size())) return list->items[*found];
  } else if (const Text* string = object.text()) {
    const std::vector<size_t> starts = code_points(string->bytes);
    if (const auto found = place(index, starts.size() - 1)) {
      return string->substr(starts[*found], starts[*found + 1] - starts[*found]);
    }
  }
  return undefined(fmt::format("{} object has no element {}", type_name(object), index));
}

std::optional<Value> of_loop(const Loop& loop, std::string_view name) {
  const size_t at = loop.at, size = loop.items.size();
  if (name == "index") return at + 1;
  if (name == "index0") return at;
  if (name == "revindex") return size - at;
  if (name == "revindex0") return size - at - 1;
  if (name == "first") return at == 0;
  if (name == "last") return at + 1 == size;
  if (name == "length") return size;
  if (name == "depth") return 1;
  if (name == "depth0") return 0;
  if (name == "previtem") {
    return at > 0 ? loop.items[at - 1] : undefined("there is no previous item");
  }
  if (name == "nextitem") {
    return at + 1 < size ? loop.items[at + 1] : undefined("there is no next item");
  }
  return std::nullopt;
}

std::optional<Value> member(Renderer& render, const Value& object, std::string_view name) {
  if (const Loop* loop = object.loop()) {
    if (auto found = of_loop(*loop, name)) return found;
  }
  if (const Namespace* space = object.space()) {
    render.charge(static_cast<int64_t>(space->attributes.items.size() / 16));
    if (const Value* found = space->attributes.find(name)) return *found;
    return std::nullopt;
  }
  if (object.callable() != nullptr && name == "name") return text(object.callable()->name);
  return find_method(object, name);
}

Value missing(const Value& object, std::string_view name) {
  if (object.is_undefined()) throw RenderError(object.why_undefined());
  return undefined(fmt::format("'{} object' has no attribute '{}'", type_name(object), name));
}

}  // namespace

Value arithmetic(Renderer& render, const std::string& op, const Value& left, const Value& right) {
  if (left.integer() && right.integer()) return integers(op, *left.integer(), *right.integer());
  if (left.number() && right.number()) return reals(op, *left.number(), *right.number());
  if (op == "+") {
    if (auto sum = joined(render, left, right)) return *sum;
  }
  const auto repeats = [](const Value& value) {
    return value.text() != nullptr || value.sequence() != nullptr;
  };
  if (op == "*" && repeats(left) && right.integer()) {
    return repeated(render, left, *right.integer());
  }
  if (op == "*" && repeats(right) && left.integer()) {
    return repeated(render, right, *left.integer());
  }
  if (op == "%" && left.text() != nullptr && !right.is_undefined()) {
    const Sequence* several = right.sequence();
    const bool tuple = several != nullptr && several->tuple;
    return percent_format(*left.text(), tuple ? several->items : std::vector<Value>{right});
  }
  no_operator(op, left, right);
}

bool contains(const Value& container, const Value& item) {
  if (const Text* string = container.text()) {
    if (item.text() == nullptr) {
      if (item.is_undefined()) throw RenderError(item.why_undefined());
      throw RenderError(
          fmt::format("'in <string>' requires string as left operand, not {}", type_name(item)));
    }
    return string->bytes.find(item.text()->bytes) != std::string::npos;
  }
  if (const Dict* dict = container.dict()) return dict->find(item) != nullptr;
  if (const Sequence* list = container.sequence()) {
    return std::ranges::any_of(list->items, [&](const Value& each) { return equal(each, item); });
  }
  if (container.is_undefined() || container.generator() != nullptr) {
    const std::vector<Value> items = iterate(container);
    return std::ranges::any_of(items, [&](const Value& each) { return equal(each, item); });
  }
  throw RenderError(fmt::format("argument of type '{}' is not iterable", type_name(container)));
}

Value slice(Renderer& render, const Value& object, const Value* start, const Value* stop,
            const Value* step) {
  const auto whole = [](const Value* value, int64_t otherwise) {
    if (value == nullptr) return otherwise;
    if (!value->integer()) throw RenderError("slice indices must be integers or None");
    return *value->integer();
  };
  if (object.text() == nullptr && object.sequence() == nullptr) {
    return missing(object, "a slice");
  }
  const std::vector<Value> items = iterate(object);
  render.charge(static_cast<int64_t>(items.size() / 8));
  const auto size = static_cast<int64_t>(items.size());
  const int64_t by = whole(step, 1);
  if (by == 0) throw RenderError("slice step cannot be zero");
  const auto bound = [&](const Value* value, int64_t otherwise) {
    int64_t at = whole(value, otherwise);
    if (value != nullptr && at < 0) at = std::max<int64_t>(at, -size - 1) + size;
    return std::clamp<int64_t>(at, by < 0 ? -1 : 0, by < 0 ? size - 1 : size);
  };
  const int64_t from = bound(start, by < 0 ? size - 1 : 0);
  const int64_t to = bound(stop, by < 0 ? -1 : size);
  Sequence result;
  for (int64_t i = from; by > 0 ? i < to : i > to;) {
    result.items.push_back(items[static_cast<size_t>(i)]);
    if (by > 0 ? by >= to - i : by <= to - i) break;
    i += by;
  }
  if (object.text() == nullptr) {
    result.tuple = object.sequence()->tuple;
    return result;
  }
  Text joined;
  for (const Value& one : result.items) joined.append(*one.text());
  return joined;
}

Value attribute(Renderer& render, const Value& object, const std::string& name) {
  if (auto found = member(render, object, name)) return *found;
  if (const Dict* dict = object.dict()) {
    render.charge(static_cast<int64_t>(dict->items.size() / 16));
    if (const Value* found = dict->find(name)) return *found;
  }
  return missing(object, name);
}

Value item(Renderer& render, const Value& object, const Value& key) {
  if (const Dict* dict = object.dict()) {
    render.charge(static_cast<int64_t>(dict->items.size() / 16));
    if (const Value* found = dict->find(key)) return *found;
  } else if (key.integer() && (object.text() != nullptr || object.sequence() != nullptr)) {
    return at_index(object, *key.integer());
  }
  if (key.text() != nullptr) {
    if (auto found = member(render, object, key.text()->bytes)) return *found;
  }
  return missing(object, to_text(key).bytes);
}

Value attribute_path(Renderer& render, const Value& object, const Value& path) {
  if (path.text() == nullptr) return item(render, object, path);
  Value at = object;
  const std::string& names = path.text()->bytes;
  for (size_t from = 0; from <= names.size();) {
    const size_t end = std::min(names.find('.', from), names.size());
    const std::string name = names.substr(from, end - from);
    int64_t index = 0;
    const auto [rest, error] = std::from_chars(name.data(), name.data() + name.size(), index);
    const bool number = error == std::errc() && rest == name.data() + name.size();
    at = item(render, at, number ? Value(index) : text(name));
    from = end + 1;
  }
  return at;
}

}  // namespace trireme::data::jinja
