#include <fmt/format.h>

#include <algorithm>

#include "data/jinja_filters.h"
#include "data/jinja_library.h"

namespace trireme::data::jinja::filters {
namespace {

// What is iterated, paid for.
std::vector<Value> items_of(Renderer& render, const Value& value) {
  std::vector<Value> items = iterate(value);
  render.charge(static_cast<int64_t>(items.size()));
  return items;
}

bool flag(const Arguments& given, size_t place, std::string_view name, bool otherwise = false) {
  const Value* found = given.find(place, name);
  return found == nullptr ? otherwise : truthy(*found);
}

const std::string& name_argument(const Arguments& given, size_t place) {
  if (place >= given.positional.size() || given.positional[place].text() == nullptr) {
    throw RenderError("the name of a filter, a test or an attribute is missing");
  }
  return given.positional[place].text()->bytes;
}

// The arguments behind the first ones.
Arguments behind(const Arguments& given, size_t count) {
  Arguments rest = given;
  rest.positional.erase(
      rest.positional.begin(),
      rest.positional.begin() + static_cast<int64_t>(std::min(count, rest.positional.size())));
  return rest;
}

// What is compared: the attribute, lower case unless case counts.
Value key_of(Renderer& render, const Value& value, const Value* path, bool case_counts) {
  Value key = path == nullptr || path->is_none() ? value : attribute_path(render, value, *path);
  if (case_counts || key.text() == nullptr) return key;
  render.charge_bytes(key.text()->size());
  return with_case(*key.text(), Case::kLower);
}

std::vector<Value> sorted(Renderer& render, const std::vector<Value>& items, bool reverse,
                          const std::function<Value(const Value&)>& key) {
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : items) keyed.emplace_back(key(item), item);
  const auto before = [&](const auto& a, const auto& b) {
    render.charge(1);
    return reverse ? less(b.first, a.first) : less(a.first, b.first);
  };
  std::ranges::stable_sort(keyed, before);
  std::vector<Value> result;
  for (auto& [_, item] : keyed) result.push_back(std::move(item));
  return result;
}

Value select_or_reject(Renderer& render, const Value& value, const Arguments& given, bool by_path,
                       bool keep) {
  const size_t test_at = by_path ? 1 : 0;
  const Value path = by_path ? text(name_argument(given, 0)) : Value();
  Filter test = nullptr;
  if (given.positional.size() > test_at) {
    const std::string& name = name_argument(given, test_at);
    test = find_test(name);
    if (test == nullptr) throw RenderError(fmt::format("No test named '{}'.", name));
  }
  const Arguments rest = behind(given, test_at + 1);
  if (test != nullptr) check_test_arguments(name_argument(given, test_at), rest);
  Generator result;
  if (!truthy(value)) return result;  // None too
  for (Value& item : items_of(render, value)) {
    const Value tested = by_path ? attribute_path(render, item, path) : item;
    if (truthy(test == nullptr ? tested : test(render, tested, rest)) == keep) {
      result.items.push_back(std::move(item));
    }
  }
  return result;
}

Value extreme(Renderer& render, const Value& value, const Arguments& given, bool largest) {
  const bool case_counts = flag(given, 0, "case_sensitive");
  const Value* path = given.find(1, "attribute");
  const Value* best = nullptr;
  Value best_key;
  const std::vector<Value> items = items_of(render, value);
  for (const Value& item : items) {
    Value key = key_of(render, item, path, case_counts);
    if (best == nullptr || (largest ? less(best_key, key) : less(key, best_key))) {
      best = &item;
      best_key = std::move(key);
    }
  }
  return best == nullptr ? undefined("No aggregated item, sequence was empty.") : *best;
}

}  // namespace

Value length(Renderer&, const Value& value, const Arguments&) {
  if (value.text() != nullptr) return count_code_points(value.text()->bytes);
  if (value.sequence() != nullptr) return value.sequence()->items.size();
  if (value.dict() != nullptr) return value.dict()->items.size();
  if (value.is_undefined()) return 0;
  throw RenderError(fmt::format("object of type '{}' has no len()", type_name(value)));
}

Value first(Renderer& render, const Value& value, const Arguments&) {
  const std::vector<Value> all = items_of(render, value);
  return all.empty() ? undefined("No first item, sequence was empty.") : all.front();
}

Value last(Renderer& render, const Value& value, const Arguments&) {
  if (value.generator() != nullptr) throw RenderError("'generator' object is not reversible");
  const std::vector<Value> all = items_of(render, value);
  return all.empty() ? undefined("No last item, sequence was empty.") : all.back();
}

Value list(Renderer& render, const Value& value, const Arguments&) {
  return Sequence{.items = items_of(render, value)};
}

Value reverse(Renderer& render, const Value& value, const Arguments&) {
  std::vector<Value> all = items_of(render, value);
  std::ranges::reverse(all);
  if (value.text() == nullptr) return Generator{std::move(all)};
  Text result;
  for (const Value& one : all) result.append(*one.text());
  return result;
}

Value items(Renderer& render, const Value& value, const Arguments&) {
  if (value.is_undefined()) return Generator{};
  if (value.dict() == nullptr) throw RenderError("Can only get item pairs from a mapping.");
  const Value pairs = render.call(*find_method(value, "items"), {});
  return Generator{pairs.sequence()->items};
}

Value join(Renderer& render, const Value& value, const Arguments& given) {
  const Value* separator = given.find(0, "d");
  const Value* path = given.find(1, "attribute");
  const Text between = separator == nullptr ? Text() : to_text(*separator);
  Text result;
  bool is_first = true;
  for (const Value& item : items_of(render, value)) {
    if (!is_first) result.append(between);
    is_first = false;
    result.append(to_text(path == nullptr ? item : attribute_path(render, item, *path)));
    if (result.size() > (size_t{64} << 20)) throw RenderError("a string that is too long");
  }
  render.charge_bytes(result.size());
  return result;
}

Value map(Renderer& render, const Value& value, const Arguments& given) {
  Generator result;
  if (!truthy(value)) return result;  // None too
  const Value* path = given.find(given.positional.size(), "attribute");
  if (given.positional.empty() && path != nullptr) {
    const Value* otherwise = given.find(given.positional.size(), "default");
    for (const auto& [key, given_value] : given.named) {
      if (key != "attribute" && key != "default") {
        throw RenderError(fmt::format("Unexpected keyword argument '{}'", key));
      }
    }
    for (const Value& item : items_of(render, value)) {
      Value found = attribute_path(render, item, *path);
      if (found.is_undefined() && otherwise != nullptr) found = *otherwise;
      result.items.push_back(std::move(found));
    }
    return result;
  }
  const std::string& name = name_argument(given, 0);
  const Filter filter = find_filter(name);
  if (filter == nullptr) throw RenderError(fmt::format("No filter named '{}'.", name));
  const Arguments rest = behind(given, 1);
  check_filter_arguments(name, rest);
  for (const Value& item : items_of(render, value)) {
    result.items.push_back(filter(render, item, rest));
  }
  return result;
}

Value select(Renderer& render, const Value& value, const Arguments& given) {
  return select_or_reject(render, value, given, false, true);
}
Value reject(Renderer& render, const Value& value, const Arguments& given) {
  return select_or_reject(render, value, given, false, false);
}
Value selectattr(Renderer& render, const Value& value, const Arguments& given) {
  return select_or_reject(render, value, given, true, true);
}
Value rejectattr(Renderer& render, const Value& value, const Arguments& given) {
  return select_or_reject(render, value, given, true, false);
}

Value sort(Renderer& render, const Value& value, const Arguments& given) {
  const bool case_counts = flag(given, 1, "case_sensitive");
  const Value* path = given.find(2, "attribute");
  if (path != nullptr && path->text() != nullptr &&
      path->text()->bytes.find(',') != std::string::npos) {
    throw RenderError("sort by several attributes is not supported");
  }
  return Sequence{
      .items = sorted(render, items_of(render, value), flag(given, 0, "reverse"),
                      [&](const Value& each) { return key_of(render, each, path, case_counts); })};
}

Value dictsort(Renderer& render, const Value& value, const Arguments& given) {
  if (value.is_undefined()) throw RenderError(value.why_undefined());
  if (value.dict() == nullptr) throw RenderError("dictsort of what is no dict");
  const Value* by = given.find(1, "by");
  const bool by_value = by != nullptr && by->text() != nullptr && by->text()->bytes == "value";
  const Value place(by_value ? 1 : 0);
  const bool case_counts = flag(given, 0, "case_sensitive");
  const Value pairs = render.call(*find_method(value, "items"), {});
  return Sequence{.items = sorted(render, pairs.sequence()->items, flag(given, 2, "reverse"),
                                  [&](const Value& each) {
                                    return key_of(render, each, &place, case_counts);
                                  })};
}

Value unique(Renderer& render, const Value& value, const Arguments& given) {
  const bool case_counts = flag(given, 0, "case_sensitive");
  const Value* path = given.find(1, "attribute");
  Generator result;
  std::vector<Value> seen;
  for (Value& item : items_of(render, value)) {
    Value key = key_of(render, item, path, case_counts);
    render.charge(static_cast<int64_t>(seen.size() / 8));
    if (std::ranges::any_of(seen, [&](const Value& each) { return equal(each, key); })) continue;
    seen.push_back(std::move(key));
    result.items.push_back(std::move(item));
  }
  return result;
}

Value min(Renderer& render, const Value& value, const Arguments& given) {
  return extreme(render, value, given, false);
}
Value max(Renderer& render, const Value& value, const Arguments& given) {
  return extreme(render, value, given, true);
}

Value sum(Renderer& render, const Value& value, const Arguments& given) {
  const Value* path = given.find(0, "attribute");
  const Value* start = given.find(1, "start");
  Value total = start == nullptr ? Value(0) : *start;
  for (const Value& item : items_of(render, value)) {
    const bool whole = path == nullptr || path->is_none();
    total = arithmetic(render, "+", total, whole ? item : attribute_path(render, item, *path));
  }
  return total;
}

}  // namespace trireme::data::jinja::filters
