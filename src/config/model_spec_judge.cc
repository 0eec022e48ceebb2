// What becomes of the keys of a config.json, by the rows of model_spec_table.cc.
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "config/model_spec_table.h"

namespace trireme::config {
namespace {

using enum ModelKeyFate;

constexpr std::string_view kRope = "rope_parameters.";

// Parts of names that a key has which changes what is computed or trained.
constexpr std::array<std::string_view, 17> kTouching = {
    "attention", "attn",       "rope",  "rotary", "loss",   "router", "scaling", "scale", "softcap",
    "window",    "multiplier", "alibi", "drop",   "jitter", "qk_",    "_qk",     "clip"};
constexpr std::array<std::string_view, 3> kFactors = {"scaling", "scale", "multiplier"};

bool has_part(std::string_view name, std::span<const std::string_view> parts) {
  return std::ranges::any_of(
      parts, [&](std::string_view part) { return name.find(part) != std::string_view::npos; });
}

bool names(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    const size_t bar = std::min(list.find('|'), list.size());
    if (list.substr(0, bar) == word) return true;
    list.remove_prefix(std::min(bar + 1, list.size()));
  }
  return false;
}

// Of a key that the table does not know: no switch is on, and no factor is other than 1.
bool is_off(std::string_view name, const Json& value) {
  if (is_nothing(value) || value == false) return true;
  return value.is_number() && value == (has_part(name, kFactors) ? 1 : 0);
}

// Goes through the keys of one object.
class Judge {
 public:
  // `place` goes before the keys in messages, `section` before them in the table.
  Judge(std::string place, std::string_view section, std::string_view reader)
      : place_(std::move(place)), section_(section), reader_(reader) {}

  void judge(const std::string& key, const Json& value) {
    const ModelKey* row = find_model_key(std::string(section_) + key);
    if (row == nullptr) return judge_unknown(key, value);
    if (row->fate == kNeutral && !is_neutral(*row, value)) {
      fail("{}{} is {}: {}, which is not built: set it to {} to do without", place_, key,
           json_text(value), row->text, row->scope.empty() ? "null" : row->scope);
    }
    const bool read = row->scope.empty() || names(row->scope, reader_);
    if (row->fate == kUsed && !read && !is_off(key, value)) idle_.push_back(shortened(key, 60));
  }

  std::vector<std::string> notes(const std::string& file) const {
    std::vector<std::string> lines;
    if (!idle_.empty()) {
      lines.push_back(fmt::format("{}: without effect in {}, as in transformers: {}", file, reader_,
                                  listed_keys(idle_)));
    }
    if (!unknown_.empty()) {
      lines.push_back(fmt::format("{}: keys that are not known, and have no effect: {}", file,
                                  listed_keys(unknown_)));
    }
    return lines;
  }

 private:
  void judge_unknown(const std::string& key, const Json& value) {
    if (is_nothing(value)) return;
    const bool touches = !section_.empty() || has_part(key, kTouching);
    if (!touches) return unknown_.push_back(escaped(shortened(key, 60)));
    if (is_off(key, value)) return;
    fail(
        "{}{} is {}: not known, and by its name it changes what is computed: remove it to do "
        "without, as transformers does in {}",
        place_, key, json_text(value), reader_);
  }

  std::string place_;
  std::string_view section_, reader_;
  std::vector<std::string> idle_, unknown_;
};

}  // namespace

bool is_nothing(const Json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.is_null() || (value.is_structured() && value.empty());
}

bool is_neutral(const ModelKey& row, const Json& value) {
  if (is_nothing(value)) return true;
  std::string_view list = row.scope;
  while (!list.empty()) {
    const size_t bar = std::min(list.find('|'), list.size());
    if (value == Json::parse(list.substr(0, bar))) return true;
    list.remove_prefix(std::min(bar + 1, list.size()));
  }
  return false;
}

std::string listed_keys(const std::vector<std::string>& keys) {
  constexpr size_t most = 20;
  const size_t shown = std::min(keys.size(), most);
  const std::string text =
      fmt::format("{}", fmt::join(keys.begin(), keys.begin() + static_cast<int64_t>(shown), ", "));
  return shown == keys.size() ? text : fmt::format("{} and {} more", text, keys.size() - shown);
}

std::vector<std::string> judge_model_keys(const Json& config, const std::string& name,
                                          std::string_view model_type) {
  Judge judge(name + ": ", "", model_type);
  for (const auto& [key, value] : config.items()) judge.judge(key, value);
  return judge.notes(name);
}

std::vector<std::string> judge_rope_keys(const Keys& rope, RopeType type) {
  Judge judge(fmt::format("{}: {}", rope.name(), rope.prefix()), kRope, rope_type_name(type));
  for (const auto& [key, value] : rope.json().items()) judge.judge(key, value);
  return judge.notes(rope.name());
}

}  // namespace trireme::config
