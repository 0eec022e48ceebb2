// Values of a template, as Python has them. They do not change once made (transformers renders in
// jinja2's immutable sandbox), but for the attributes of namespaces, and generators, which end.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "config/json.h"
#include "data/jinja_text.h"

namespace trireme::data::jinja {

// What goes wrong in a rendering; the template adds file, line and column.
struct RenderError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// raise_exception(message).
struct RaisedByTemplate : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Renderer;
class Value;

struct Undefined {
  std::shared_ptr<const std::string> why;  // of the error where it is used
};
struct None {};

struct Sequence {
  std::vector<Value> items;
  bool tuple = false;
};

// In order of insertion. Keys differ.
struct Dict {
  std::vector<std::pair<Value, Value>> items;
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  void set(const Value& key, Value value);
};

// What map, select and their like give: true, without a length, and empty once it was iterated.
struct Generator {
  std::vector<Value> items;
};

struct Namespace {
  Dict attributes;
};

struct Loop;

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  // By place or name; nullptr where it is not given.
  const Value* find(size_t place, std::string_view name) const;
};

struct Callable {
  std::string name;
  std::function<Value(Renderer&, const Arguments&)> call;
};

class Value {
 public:
  using Data = std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const Text>,
                            std::shared_ptr<const Sequence>, std::shared_ptr<const Dict>,
                            std::shared_ptr<Generator>, std::shared_ptr<Namespace>,
                            std::shared_ptr<Loop>, std::shared_ptr<const Callable>>;

  Value() : data_(None{}) {}
  Value(Undefined why) : data_(std::move(why)) {}
  Value(bool value) : data_(value) {}
  Value(int64_t value) : data_(value) {}
  Value(int value) : data_(int64_t{value}) {}
  Value(size_t value) : data_(static_cast<int64_t>(value)) {}
  Value(double value) : data_(value) {}
  Value(Text text) : data_(std::make_shared<const Text>(std::move(text))) {}
  Value(Sequence items) : data_(std::make_shared<const Sequence>(std::move(items))) {}
  Value(Dict dict) : data_(std::make_shared<const Dict>(std::move(dict))) {}
  Value(Generator items) : data_(std::make_shared<Generator>(std::move(items))) {}
  Value(std::shared_ptr<Namespace> space) : data_(std::move(space)) {}
  Value(std::shared_ptr<Loop> loop) : data_(std::move(loop)) {}
  Value(Callable callable) : data_(std::make_shared<const Callable>(std::move(callable))) {}
  Value(const void*) = delete;  // a pointer is no bool

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  const bool* boolean() const { return std::get_if<bool>(&data_); }
  const double* real() const { return std::get_if<double>(&data_); }
  const Text* text() const { return pointee<const Text>(); }
  const Sequence* sequence() const { return pointee<const Sequence>(); }
  const Dict* dict() const { return pointee<const Dict>(); }
  Generator* generator() const { return pointee<Generator>(); }
  Namespace* space() const { return pointee<Namespace>(); }
  Loop* loop() const { return pointee<Loop>(); }
  const Callable* callable() const { return pointee<const Callable>(); }
  const std::string& why_undefined() const { return *std::get<Undefined>(data_).why; }

  // An int, or a bool as 0 or 1.
  std::optional<int64_t> integer() const;
  // An int, bool or float.
  std::optional<double> number() const;
  const Data& data() const { return data_; }

 private:
  template <typename T>
  T* pointee() const {
    const auto* held = std::get_if<std::shared_ptr<T>>(&data_);
    return held == nullptr ? nullptr : held->get();
  }
  Data data_;
};

// The variable `loop`.
struct Loop {
  std::vector<Value> items;
  size_t at = 0;
  std::optional<std::vector<Value>> last_changed = {};
};

Value undefined(std::string why);
Value text(std::string_view own);

bool truthy(const Value& value);
bool equal(const Value& left, const Value& right);
// a < b as Python orders; throws RenderError for what has no order.
bool less(const Value& left, const Value& right);

const char* type_name(const Value& value);  // Python's: "int", "str"

Text to_text(const Value& value);                 // str()
void append_repr(Text& out, const Value& value);  // repr()
std::string float_repr(double value);

// What `for` goes through: keys of a dict, characters of a string. Ends a generator.
std::vector<Value> iterate(const Value& value);

// Strings get the mark.
Value from_json(const config::Json& json, Mark mark);

struct JsonStyle {
  bool ensure_ascii = false;
  std::optional<std::string> indent = {};  // of one level
  std::optional<std::string> item_separator = {}, key_separator = {};
  bool sort_keys = false;
};
// json.dumps.
Text to_json(const Value& value, const JsonStyle& style);

}  // namespace trireme::data::jinja
