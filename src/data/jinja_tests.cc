// What stands behind `is`.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unordered_map>

#include "data/jinja_library.h"

namespace trireme::data::jinja {
namespace {

const Value& other(const Arguments& given) {
  if (given.positional.empty()) throw RenderError("the test needs a value to compare with");
  return given.positional.front();
}

int64_t whole(const Value& value) {
  if (!value.integer())
    throw RenderError(fmt::format("an int is needed, not {}", type_name(value)));
  return *value.integer();
}

bool is_int(const Value& value) { return value.integer() && value.boolean() == nullptr; }

// The sandbox's values have no identity but that of singletons and small values.
bool same(const Value& left, const Value& right) {
  return left.data().index() == right.data().index() && equal(left, right);
}

bool iterable(const Value& value) {
  return value.is_undefined() || value.text() != nullptr || value.sequence() != nullptr ||
         value.dict() != nullptr || value.generator() != nullptr;
}

using In = const Value&;
using Given = const Arguments&;

#define TEST(expression) \
  [](Renderer& render, In value, Given given) -> Value { return (expression); }

const std::unordered_map<std::string_view, Filter> kTests = {
    {"defined", TEST(!value.is_undefined())},
    {"undefined", TEST(value.is_undefined())},
    {"none", TEST(value.is_none())},
    {"boolean", TEST(value.boolean() != nullptr)},
    {"true", TEST(value.boolean() != nullptr && *value.boolean())},
    {"false", TEST(value.boolean() != nullptr && !*value.boolean())},
    {"integer", TEST(is_int(value))},
    {"float", TEST(value.real() != nullptr)},
    {"number", TEST(value.number().has_value())},
    {"string", TEST(value.text() != nullptr)},
    {"mapping", TEST(value.dict() != nullptr)},
    {"sequence", TEST(iterable(value) && value.generator() == nullptr)},
    {"iterable", TEST(iterable(value))},
    {"callable", TEST(value.callable() != nullptr || value.is_undefined())},
    {"escaped", TEST(false)},
    {"sameas", TEST(same(value, other(given)))},
    {"eq", TEST(equal(value, other(given)))},
    {"==", TEST(equal(value, other(given)))},
    {"equalto", TEST(equal(value, other(given)))},
    {"ne", TEST(!equal(value, other(given)))},
    {"!=", TEST(!equal(value, other(given)))},
    {"lt", TEST(less(value, other(given)))},
    {"<", TEST(less(value, other(given)))},
    {"lessthan", TEST(less(value, other(given)))},
    {"gt", TEST(less(other(given), value))},
    {">", TEST(less(other(given), value))},
    {"greaterthan", TEST(less(other(given), value))},
    {"le", TEST(!less(other(given), value))},
    {"<=", TEST(!less(other(given), value))},
    {"ge", TEST(!less(value, other(given)))},
    {">=", TEST(!less(value, other(given)))},
    {"in", TEST(contains(other(given), value))},
    {"odd", TEST(whole(value) % 2 != 0)},
    {"even", TEST(whole(value) % 2 == 0)},
    {"divisibleby", TEST(equal(arithmetic(render, "%", value, other(given)), 0))},
    {"lower", TEST(render.call(*find_method(Value(to_text(value)), "islower"), {}))},
    {"upper", TEST(render.call(*find_method(Value(to_text(value)), "isupper"), {}))},
    {"filter", TEST(find_filter(to_text(value).bytes) != nullptr)},
    {"test", TEST(find_test(to_text(value).bytes) != nullptr)},
};

#undef TEST

}  // namespace

Filter find_test(std::string_view name) {
  const auto found = kTests.find(name);
  return found == kTests.end() ? nullptr : found->second;
}

bool is_test_of_jinja(std::string_view name) { return find_test(name) != nullptr; }

}  // namespace trireme::data::jinja
