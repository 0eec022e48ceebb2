#include "config/names.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"

namespace trireme::config {
namespace {

std::string underscored(std::string_view name) {
  std::string result(name);
  std::ranges::replace(result, '-', '_');
  return result;
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](unsigned char c) { return std::tolower(c); });
  return result;
}

const ForeignName* find_row(std::string_view name, const std::string& value) {
  const auto fits = [&](const ForeignName& row) {
    return row.name == name && (row.value.empty() || row.value == lower(value));
  };
  const auto found = std::ranges::find_if(foreign_names(), fits);
  return found == foreign_names().end() ? nullptr : &*found;
}

}  // namespace

bool is_foreign_name(std::string_view name) {
  return std::ranges::find(foreign_names(), underscored(name), &ForeignName::name) !=
         foreign_names().end();
}

std::optional<Meaning> meaning_of(std::string_view name, const std::string& value,
                                  const std::string& where) {
  const ForeignName* row = find_row(underscored(name), value);
  if (row == nullptr) return std::nullopt;
  const std::string given = fmt::format("{} {}", where, shown(value));
  if (row->fate == NameFate::kRefused) fail("{}: {}", given, row->text);
  if (row->fate == NameFate::kNotNeeded) {
    return Meaning{nullptr, "", escaped(fmt::format("{}: not needed: {}", given, row->text))};
  }
  Meaning meaning{find_option(row->text), row->ours.empty() ? value : std::string(row->ours), ""};
  meaning.remark =
      escaped(fmt::format("{} is --{} {}", given, meaning.option->name, shown(meaning.value)));
  return meaning;
}

}  // namespace trireme::config
