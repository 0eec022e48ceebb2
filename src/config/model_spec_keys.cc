#include "config/model_spec_keys.h"

#include <cmath>

#include "base/error.h"

namespace trireme::config {

const Json* Keys::find(const char* key) const {
  const auto found = json_.find(key);
  return found == json_.end() || found->is_null() ? nullptr : &*found;
}

int64_t Keys::integer_or(const char* key, int64_t fallback, int64_t least, int64_t most) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  const auto number = whole_number(*value, least, most);
  if (!number) refuse(key, *value, fmt::format("a whole number from {} to {}", least, most));
  return *number;
}

int64_t Keys::integer(const char* key, int64_t least, int64_t most) const {
  if (find(key) == nullptr) missing(key);
  return integer_or(key, least, least, most);
}

int64_t Keys::size(const char* key, int64_t most) const {
  if (find(key) == nullptr) missing(key);
  return size_or(key, 0, most);
}

double Keys::positive_or(const char* key, double fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_number() || value->get<double>() <= 0) refuse(key, *value, "a number above 0");
  return value->get<double>();
}

double Keys::positive(const char* key) const {
  if (find(key) == nullptr) missing(key);
  return positive_or(key, 0);
}

double Keys::number_or(const char* key, double fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_number()) refuse(key, *value, "a number");
  return value->get<double>();
}

std::vector<double> Keys::positives(const char* key) const {
  const Json* list = find(key);
  if (list == nullptr) missing(key);
  std::vector<double> numbers;
  if (!list->is_array()) refuse(key, *list, "a list of numbers above 0");
  for (const Json& number : *list) {
    if (!number.is_number() || number.get<double>() <= 0) {
      refuse(key, *list, "a list of numbers above 0");
    }
    numbers.push_back(number.get<double>());
  }
  return numbers;
}

bool Keys::flag_or(const char* key, bool fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) refuse(key, *value, "true or false");
  return value->get<bool>();
}

std::string Keys::text(const char* key) const {
  if (find(key) == nullptr) missing(key);
  return text_or(key, "");
}

std::string Keys::text_or(const char* key, const std::string& fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_string()) refuse(key, *value, "a string");
  return value->get<std::string>();
}

std::vector<int64_t> Keys::ids(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return {};
  const Json list = value->is_array() ? *value : Json::array({*value});
  std::vector<int64_t> ids;
  for (const Json& id : list) {
    const auto number = whole_number(id, 0, kMostSize);
    if (!number) refuse(key, *value, "a whole number from 0, or a list of them,");
    ids.push_back(*number);
  }
  return ids;
}

Keys Keys::object(const char* key) const {
  static const Json empty = Json::object();
  const Json* value = find(key);
  if (value != nullptr && !value->is_object()) refuse(key, *value, "an object");
  return Keys(value == nullptr ? empty : *value, name_, prefix_ + key + ".");
}

void Keys::refuse_objects() const {
  for (const auto& [key, value] : json_.items()) {
    if (value.is_object()) refuse(key.c_str(), value, "a number or a string");
  }
}

void Keys::refuse(const char* key, const Json& value, const std::string& expected) const {
  fail("{}: {}{} is {}: {} is expected", name_, prefix_, key, json_text(value), expected);
}

void Keys::missing(const char* key) const {
  fail("{}: the key {}{} is missing", name_, prefix_, key);
}

}  // namespace trireme::config
