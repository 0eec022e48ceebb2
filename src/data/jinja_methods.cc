// The methods of dicts, lists and loops, and where a method is looked for.
#include "data/jinja_methods.h"

#include <fmt/format.h>

#include <algorithm>

#include "data/jinja_library.h"

namespace trireme::data::jinja {
namespace {

template <int which>  // 0: keys, 1: values, 2: both
Value entries(Renderer& render, const Value& self, const Arguments&) {
  Sequence result;
  for (const auto& [key, value] : self.dict()->items) {
    if (which == 2) {
      result.items.emplace_back(Sequence{.items = {key, value}, .tuple = true});
    } else {
      result.items.push_back(which == 0 ? key : value);
    }
  }
  render.charge(static_cast<int64_t>(result.items.size()));
  return result;
}

Value get(Renderer& render, const Value& self, const Arguments& arguments) {
  render.charge(static_cast<int64_t>(self.dict()->items.size() / 16));
  const Value* key = arguments.find(0, "key");
  if (key == nullptr) throw RenderError("get expected at least 1 argument, got 0");
  if (const Value* found = self.dict()->find(*key)) return *found;
  const Value* otherwise = arguments.find(1, "default");
  return otherwise == nullptr ? Value() : *otherwise;
}

Value copy(Renderer&, const Value& self, const Arguments&) { return self; }

const Methods kDict = {{"keys", entries<0>},
                       {"values", entries<1>},
                       {"items", entries<2>},
                       {"get", get},
                       {"copy", copy}};

Value index_of(Renderer&, const Value& self, const Arguments& arguments) {
  const Value* what = arguments.find(0, "value");
  const std::vector<Value>& items = self.sequence()->items;
  for (size_t i = 0; what != nullptr && i < items.size(); ++i) {
    if (equal(items[i], *what)) return i;
  }
  throw RenderError("the value is not in the list");
}

Value count_of(Renderer&, const Value& self, const Arguments& arguments) {
  const Value* what = arguments.find(0, "value");
  if (what == nullptr) throw RenderError("count() takes exactly one argument");
  return std::ranges::count_if(self.sequence()->items,
                               [&](const Value& each) { return equal(each, *what); });
}

const Methods kList = {{"index", index_of}, {"count", count_of}, {"copy", copy}};

Value cycle(Renderer&, const Value& self, const Arguments& arguments) {
  if (arguments.positional.empty()) throw RenderError("no items for cycling given");
  return arguments.positional[self.loop()->at % arguments.positional.size()];
}

Value changed(Renderer&, const Value& self, const Arguments& arguments) {
  auto& last = self.loop()->last_changed;
  if (last && std::ranges::equal(*last, arguments.positional, equal)) return false;
  last = arguments.positional;
  return true;
}

const Methods kLoop = {{"cycle", cycle}, {"changed", changed}};

const Methods* methods_of(const Value& object) {
  if (object.text() != nullptr) return &string_methods();
  if (object.dict() != nullptr) return &kDict;
  if (object.sequence() != nullptr) return &kList;
  if (object.loop() != nullptr) return &kLoop;
  return nullptr;
}

// Of lists and dicts; the sandbox gives an object that fails when it is used.
bool would_change(const Value& object, std::string_view name) {
  const auto any = [&](std::initializer_list<std::string_view> names) {
    return std::ranges::count(names, name) > 0;
  };
  if (object.sequence() != nullptr && !object.sequence()->tuple) {
    return any({"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"});
  }
  return object.dict() != nullptr && any({"clear", "pop", "popitem", "setdefault", "update"});
}

}  // namespace

std::optional<Value> find_method(const Value& object, std::string_view name) {
  const Methods* methods = methods_of(object);
  if (methods == nullptr) return std::nullopt;
  if (would_change(object, name)) {
    return undefined(
        fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, type_name(object)));
  }
  const auto found = methods->find(name);
  if (found == methods->end()) return std::nullopt;
  const auto call = [method = found->second, self = object, name = std::string(name)](
                        Renderer& render, const Arguments& arguments) {
    check_call_arguments(name, arguments);
    return method(render, self, arguments);
  };
  return Callable{std::string(name), call};
}

}  // namespace trireme::data::jinja
