#pragma once

#include <string_view>
#include <unordered_map>

#include "data/jinja_value.h"

namespace trireme::data::jinja {

using Method = Value (*)(Renderer& render, const Value& self, const Arguments& arguments);
using Methods = std::unordered_map<std::string_view, Method>;

const Methods& string_methods();

}  // namespace trireme::data::jinja
