#include "deepspeed/file.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/nearest.h"
#include "config/python_json.h"
#include "deepspeed/hjson.h"

namespace trireme::deepspeed {
namespace {

std::vector<std::string> split(std::string_view choices) {
  std::vector<std::string> list;
  while (!choices.empty()) {
    const size_t bar = choices.find('|');
    list.emplace_back(choices.substr(0, bar));
    choices = bar == std::string_view::npos ? "" : choices.substr(bar + 1);
  }
  return list;
}

const char* kind_text(KeyKind kind) {
  switch (kind) {
    case KeyKind::kFlag:
      return "true or false";
    case KeyKind::kInteger:
      return "a whole number";
    case KeyKind::kNumber:
      return "a number";
    case KeyKind::kText:
      return "a string";
    case KeyKind::kList:
      return "a list";
    case KeyKind::kSection:
      return "an object";
    case KeyKind::kAnything:
      break;
  }
  return "a value";
}

// People write 1e9 for integers. Beyond int64 nothing is one.
bool whole(const config::Json& value) {
  if (value.is_number_unsigned()) {
    return value.get<uint64_t>() <= std::numeric_limits<int64_t>::max();
  }
  if (!value.is_number_float()) return value.is_number_integer();
  const double number = value.get<double>();
  return std::floor(number) == number && std::abs(number) < 0x1p63;
}

bool fits(KeyKind kind, const config::Json& value) {
  switch (kind) {
    case KeyKind::kFlag:
      return value.is_boolean();
    case KeyKind::kInteger:
      return whole(value);
    case KeyKind::kNumber:
      return value.is_number();
    case KeyKind::kText:
      return value.is_string();
    case KeyKind::kList:
      return value.is_array();
    case KeyKind::kSection:
      return value.is_object();
    case KeyKind::kAnything:
      break;
  }
  return true;
}

void check_choice(const DeepSpeedKey& row, const config::Json& value, const std::string& where) {
  const std::vector<std::string> choices = split(row.choices);
  const auto text = value.get<std::string>();
  if (choices.empty() || std::ranges::find(choices, text) != choices.end()) return;
  fail("{}: '{}' is not known: one of {} is expected{}", where, text, fmt::join(choices, ", "),
       did_you_mean(text, choices));
}

void check_value(const DeepSpeedKey& row, const config::Json& value, const std::string& where) {
  if (!fits(row.kind, value)) {
    fail("{}: {} is expected, found {}", where, kind_text(row.kind), config::json_text(value));
  }
  if (row.kind == KeyKind::kText) check_choice(row, value, where);
  if (value.is_number() && value.get<double>() < row.least) {
    fail("{}: {} is out of range: at least {} is expected", where, value_text(value), row.least);
  }
}

// Notes to people, as they stand in many files.
bool is_comment(std::string_view name) {
  return name.starts_with('_') || name.starts_with('#') || name.starts_with("//") ||
         name == "comment" || name == "comments";
}

constexpr DeepSpeedKey kComment{"", KeyKind::kAnything, "null", KeyFate::kIdle, "a comment"};
constexpr DeepSpeedKey kPassedOver{"", KeyKind::kAnything, "null", KeyFate::kIdle,
                                   "DeepSpeed does not know the key, and passes over it"};

std::string joined(std::string_view section, std::string_view name) {
  return section.empty() ? std::string(name) : fmt::format("{}.{}", section, name);
}

}  // namespace

std::string value_text(const config::Json& value) {
  return value.is_string() ? value.get<std::string>() : config::json_text(value);
}

DeepSpeedFile::DeepSpeedFile(std::string_view text, const std::string& name) : name_(name) {
  config::require_written_by_hand(text, name);
  const std::string json = config::without_python_numbers(without_hjson(text));
  const config::Json root = config::parse_json(json, name, &places_);
  if (!root.is_object()) fail("{}: {} where an object is expected", name, root.type_name());
  read_section("", "", root);
}

std::string DeepSpeedFile::where(const std::string& path) const {
  return fmt::format("{}:{}: {}", name_, places_.at(path), path);
}

void DeepSpeedFile::read_section(const std::string& written, std::string_view section,
                                 const config::Json& values) {
  for (const auto& [name, value] : values.items()) {
    try {
      read_key(joined(written, name), section, name, value);
    } catch (const UserError& error) {
      problems_.emplace_back(error.what());
    }
  }
}

void DeepSpeedFile::read_key(const std::string& written, std::string_view section,
                             const std::string& name, const config::Json& value) {
  const DeepSpeedKey* row = find_deepspeed_key(joined(section, name));
  if (row == nullptr) return read_unknown(written, section, name, value);
  if (row->fate == KeyFate::kAlias) row = find_deepspeed_key(row->text);
  if (row->path == "zero_optimization" && value.is_boolean()) {  // as DeepSpeed: true is stage 1
    return keep(*find_deepspeed_key("zero_optimization.stage"), written, value.get<bool>() ? 1 : 0);
  }
  if (row->kind == KeyKind::kSection && !value.is_null() && value != "auto") {
    check_value(*row, value, where(written));
    return read_section(written, row->path, value);
  }
  keep(*row, written, value);
}

void DeepSpeedFile::read_unknown(const std::string& written, std::string_view section,
                                 const std::string& name, const config::Json& value) {
  const bool comment = is_comment(name);
  if (!comment && (!passes_over_keys(section) || resembles_deepspeed_key(section, name))) {
    fail("{}: not a key of DeepSpeed that is known here{}: correct it, or leave it out",
         where(written), nearest_deepspeed_key(section, name));
  }
  keys_.push_back({comment ? &kComment : &kPassedOver, written, where(written), value});
}

void DeepSpeedFile::keep(const DeepSpeedKey& row, const std::string& written,
                         const config::Json& value) {
  GivenKey key{&row, written, where(written), value};
  if (const GivenKey* other = find(row.path)) {
    fail("{}: the same as {}, which is given too: remove one", key.where, other->path);
  }
  if (key.explicit_value()) check_value(row, value, key.where);
  if (row.kind == KeyKind::kInteger && value.is_number_float()) {
    key.value = static_cast<int64_t>(value.get<double>());
  }
  keys_.push_back(std::move(key));
}

const GivenKey* DeepSpeedFile::find(std::string_view path) const {
  const auto found =
      std::ranges::find_if(keys_, [&](const GivenKey& key) { return key.row->path == path; });
  return found == keys_.end() ? nullptr : &*found;
}

const GivenKey* DeepSpeedFile::find_explicit(std::string_view path) const {
  const GivenKey* key = find(path);
  return key != nullptr && key->explicit_value() ? key : nullptr;
}

config::Json DeepSpeedFile::value(std::string_view path) const {
  if (const GivenKey* key = find_explicit(path)) return key->value;
  return config::Json::parse(find_deepspeed_key(path)->fallback);
}

}  // namespace trireme::deepspeed
