// Filters, tests, methods and functions, as jinja2 and transformers give them to templates.
#pragma once

#include <string>
#include <string_view>

#include "data/jinja_nodes.h"
#include "data/jinja_renderer.h"

namespace trireme::data::jinja {

// nullptr where there is none.
Filter find_filter(std::string_view name);
Filter find_test(std::string_view name);

// Throw for a named argument that the filter, the test, or the method or function does not take,
// and for a filter's that are too many.
void check_filter_arguments(std::string_view name, const Arguments& given);
void check_test_arguments(std::string_view name, const Arguments& given);
void check_call_arguments(std::string_view name, const Arguments& given);

// jinja2 has it: a template that names it is refused, where this engine has not.
bool is_filter_of_jinja(std::string_view name);
bool is_test_of_jinja(std::string_view name);
bool is_missing_global(std::string_view name);

// range, namespace, dict, raise_exception, strftime_now; nullptr for other names.
const Value* find_global(std::string_view name);

// A method as a value that can be called; nullopt where the type has none of the name. Throws for
// those that would change the object, which the sandbox forbids.
std::optional<Value> find_method(const Value& object, std::string_view name);

// What Python's operator gives. `op`: + - * / // % **.
Value arithmetic(Renderer& render, const std::string& op, const Value& left, const Value& right);
bool contains(const Value& container, const Value& item);
// object[start:stop:step]; nullptr: not given.
Value slice(Renderer& render, const Value& object, const Value* start, const Value* stop,
            const Value* step);
// object.name and object[key]: what jinja2's getattr and getitem give, undefined where nothing is.
Value attribute(Renderer& render, const Value& object, const std::string& name);
Value item(Renderer& render, const Value& object, const Value& key);
// "a.b.0" or an integer, as the filters' `attribute` names it.
Value attribute_path(Renderer& render, const Value& object, const Value& path);

// "%s and %d" % values, and "{} and {0.name:>3}".format(...).
Text percent_format(const Text& format, const std::vector<Value>& values);
Text brace_format(Renderer& render, const Text& format, const Arguments& arguments);

}  // namespace trireme::data::jinja
