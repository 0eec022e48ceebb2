// The functions that every template may call.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unordered_map>

#include "data/jinja_library.h"

namespace trireme::data::jinja {
namespace {

constexpr int64_t kLongestRange = 100'000;  // of jinja2's sandbox

int64_t whole(const Arguments& given, size_t place, int64_t otherwise) {
  if (place >= given.positional.size()) return otherwise;
  const Value& value = given.positional[place];
  if (value.is_undefined()) throw RenderError(value.why_undefined());
  if (!value.integer()) {
    throw RenderError(
        fmt::format("'{}' object cannot be interpreted as an integer", type_name(value)));
  }
  return *value.integer();
}

Value range(Renderer& render, const Arguments& given) {
  const bool one = given.positional.size() == 1;
  const int64_t start = one ? 0 : whole(given, 0, 0);
  const int64_t stop = whole(given, one ? 0 : 1, 0);
  const int64_t step = whole(given, 2, 1);
  if (step == 0) throw RenderError("range() arg 3 must not be zero");
  const auto distance =
      static_cast<double>(stop) - static_cast<double>(start);  // may need more than 64 bits
  if (distance / static_cast<double>(step) > static_cast<double>(kLongestRange)) {
    throw RenderError(
        fmt::format("Range too big. The sandbox blocks ranges larger than {}.", kLongestRange));
  }
  Sequence result;
  for (int64_t at = start; step > 0 ? at < stop : at > stop;) {
    result.items.emplace_back(at);
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  render.charge(static_cast<int64_t>(result.items.size()));
  return result;
}

Dict named_values(const Arguments& given) {
  Dict result;
  for (const Value& value : given.positional) {
    if (const Dict* dict = value.dict()) {
      for (const auto& [key, entry] : dict->items) result.set(key, entry);
    } else {
      for (const Value& pair : iterate(value)) {
        const std::vector<Value> two = iterate(pair);
        if (two.size() != 2) throw RenderError("a dict is made of pairs");
        result.set(two[0], two[1]);
      }
    }
  }
  for (const auto& [name, value] : given.named) result.set(text(name), value);
  return result;
}

Value make_namespace(Renderer& render, const Arguments& given) {
  return render.make_namespace(named_values(given));
}

Value make_dict(Renderer& render, const Arguments& given) { return named_values(given); }

Value raise_exception(Renderer&, const Arguments& given) {
  const Value* message = given.find(0, "message");
  throw RaisedByTemplate(message == nullptr ? "" : to_text(*message).bytes);
}

Value strftime_now(Renderer& render, const Arguments& given) {
  const Value* format = given.find(0, "format");
  if (format == nullptr || format->text() == nullptr) throw RenderError("strftime_now needs a str");
  const std::time_t now = render.now();
  std::tm time{};
  localtime_r(&now, &time);
  std::array<char, 256> buffer;
  const std::string& pattern = format->text()->bytes;
  if (pattern.size() > 60) throw RenderError("a format of a date that is too long");
  return text({buffer.data(), std::strftime(buffer.data(), buffer.size(), pattern.c_str(), &time)});
}

Callable function(const char* name, Value (*call)(Renderer&, const Arguments&)) {
  return {name, [name, call](Renderer& render, const Arguments& given) {
            check_call_arguments(name, given);
            return call(render, given);
          }};
}

const std::unordered_map<std::string_view, Value> kGlobals = {
    {"range", function("range", range)},
    {"namespace", function("namespace", make_namespace)},
    {"dict", function("dict", make_dict)},
    {"raise_exception", function("raise_exception", raise_exception)},
    {"strftime_now", function("strftime_now", strftime_now)}};

}  // namespace

const Value* find_global(std::string_view name) {
  const auto found = kGlobals.find(name);
  return found == kGlobals.end() ? nullptr : &found->second;
}

bool is_missing_global(std::string_view name) {
  return name == "lipsum" || name == "cycler" || name == "joiner";
}

}  // namespace trireme::data::jinja
