#include "config/schema.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <type_traits>

#include "base/error.h"
#include "base/nearest.h"
#include "base/utf8.h"
#include "config/schema_options.h"

namespace trireme::config {
namespace {

void append(std::vector<Option>& list, std::vector<Option> part, const char* group) {
  for (Option& option : part) {
    option.group = group;
    if (option.verbs & kTrain) {
      option.verbs |= (kBench | kDump) & ~option.except;
      // A run config cannot name itself.
      if (option.json_key.empty() && option.name != "config") {
        option.json_key = "training." + option.name;
      }
    }
    list.push_back(std::move(option));
  }
}

std::vector<Option> build_schema() {
  std::vector<Option> list;
  append(list, file_options(), "Files");
  append(list, sample_options(), "Samples");
  append(list, training_options(), "Training");
  append(list, lora_options(), "LoRA");
  append(list, machine_options(), "Machine");
  append(list, generate_options(), "Generation");
  append(list, bench_options(), "Benchmark");
  append(list, output_options(), "Output");
  return list;
}

// A bound or a default without needless digits: 1, 0.001, 1073741824.
std::string number_text(double value) { return fmt::format("{}", value); }

void check_range(const Option& option, double value, const std::string& text,
                 const std::string& where) {
  if (value >= option.min && value <= option.max) return;
  fail("{}: {}{}{} is out of range: {} is expected", where, text, option.unit.empty() ? "" : " ",
       option.unit, allowed_text(option));
}

double parse_number(const std::string& text, const std::string& where) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc::result_out_of_range)
    fail("{}: {} is too large or too small", where, text);
  if (error != std::errc() || stop != end || !std::isfinite(value)) {
    fail("{}: '{}' is not a number: digits are expected, without a unit or suffix", where, text);
  }
  return value;
}

// Digits, or a float without a fraction: people write 1e9 for integers.
int64_t parse_integer(const std::string& text, const std::string& where) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc() && stop == end) return value;
  const double number = parse_number(text, where);
  if (number != std::floor(number)) fail("{}: {} is not a whole number", where, text);
  if (std::abs(number) > 0x1p53) fail("{}: {} is too large", where, text);
  return static_cast<int64_t>(number);
}

// "80GiB", "512 MiB", or a plain number of bytes.
int64_t parse_bytes(const std::string& text, const std::string& where) {
  static constexpr std::array<std::pair<std::string_view, int>, 4> kUnits = {
      {{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}}};
  for (const auto& [unit, shift] : kUnits) {
    if (!text.ends_with(unit)) continue;
    std::string number = text.substr(0, text.size() - unit.size());
    if (number.ends_with(' ')) number.pop_back();
    return static_cast<int64_t>(std::ldexp(parse_number(number, where), shift));
  }
  return parse_integer(text, where);
}

bool parse_bool(const std::string& text, const std::string& where) {
  if (text == "true" || text == "on" || text == "True") return true;  // Python's words too
  if (text == "false" || text == "off" || text == "False") return false;
  fail("{}: '{}' is none of true, false, on, off", where, text);
}

// What a run writes of its options is JSON, and a path ends at a NUL.
void parse_into(std::string& value, const Option&, const std::string& text,
                const std::string& where) {
  if (!is_utf8(text)) fail("{}: '{}' is not UTF-8: rename what it names", where, text);
  if (text.find('\0') != std::string::npos) fail("{}: '{}' has a NUL: remove it", where, text);
  value = text;
}
void parse_into(bool& value, const Option&, const std::string& text, const std::string& where) {
  value = parse_bool(text, where);
}
void parse_into(double& value, const Option& option, const std::string& text,
                const std::string& where) {
  const double parsed = parse_number(text, where);
  check_range(option, parsed, text, where);
  value = parsed;
}
void parse_into(int64_t& value, const Option& option, const std::string& text,
                const std::string& where) {
  const int64_t parsed =
      option.unit == "bytes" ? parse_bytes(text, where) : parse_integer(text, where);
  check_range(option, static_cast<double>(parsed), text, where);
  value = parsed;
}

size_t parse_choice(const Option& option, const std::string& text, const std::string& where) {
  const std::vector<std::string> choices = option.choices();
  const auto found = std::ranges::find(choices, text);
  if (found != choices.end()) return static_cast<size_t>(found - choices.begin());
  fail("{}: '{}' is not known: {} is expected{}", where, text, allowed_text(option),
       did_you_mean(text, choices));
}

// The option's value as JSON has it: a choice is its word.
Json value_json(const RunConfig& run, const Option& option) {
  return std::visit(
      [&](const auto& field) -> Json {
        if constexpr (std::is_same_v<std::decay_t<decltype(field)>, ChoiceField>) {
          return field.get(run);
        } else {
          return run.*field;
        }
      },
      option.field);
}

}  // namespace

std::span<const Option> schema() {
  static const std::vector<Option> list = build_schema();
  return list;
}

const char* verb_name(Verb verb) {
  switch (verb) {
    case kTrain:
      return "train";
    case kData:
      return "data";
    case kTokenize:
      return "tokenize";
    case kGenerate:
      return "generate";
    case kBench:
      return "bench";
    case kDump:
      return "dump";
    case kExport:
      return "export";
    case kInspect:
      return "inspect";
  }
  TRIREME_CHECK(false, "verb {}", static_cast<unsigned>(verb));
}

const Option* find_option(std::string_view name) {
  std::string underscored(name);
  std::ranges::replace(underscored, '-', '_');
  const auto found = std::ranges::find(schema(), underscored, &Option::name);
  return found == schema().end() ? nullptr : &*found;
}

const Option* find_option_by_key(std::string_view key) {
  for (const Option& option : schema()) {
    if (option.json_key.empty()) continue;
    if (option.json_key == key || "training." + option.name == key) return &option;
  }
  return nullptr;
}

std::vector<std::string> Option::choices() const {
  const auto* choice = std::get_if<ChoiceField>(&field);
  if (choice == nullptr) return {};
  return {choice->words().begin(), choice->words().end()};
}

void set_option(RunConfig& run, const Option& option, const std::string& text,
                const std::string& where) {
  const auto set = [&](const auto& field) {
    if constexpr (std::is_same_v<std::decay_t<decltype(field)>, ChoiceField>) {
      field.set(run, parse_choice(option, text, where));
    } else {
      parse_into(run.*field, option, text, where);
    }
  };
  std::visit(set, option.field);
  run.given[option.name] = where;
}

std::string option_text(const RunConfig& run, const Option& option) {
  return std::visit(
      [&](const auto& field) {
        if constexpr (std::is_same_v<std::decay_t<decltype(field)>, ChoiceField>) {
          return std::string(field.get(run));
        } else {
          return fmt::format("{}", run.*field);
        }
      },
      option.field);
}

std::string allowed_text(const Option& option) {
  if (const std::vector<std::string> choices = option.choices(); !choices.empty()) {
    std::string text;
    for (size_t i = 0; i < choices.size(); ++i) {
      if (i > 0) text += i + 1 == choices.size() ? " or " : ", ";
      text += choices[i];
    }
    return text;
  }
  const bool low = std::isfinite(option.min), high = std::isfinite(option.max);
  if (low && high) return number_text(option.min) + " to " + number_text(option.max);
  if (low) return "at least " + number_text(option.min);
  return high ? "at most " + number_text(option.max) : "";
}

Json to_json(const RunConfig& run, Verb verb) {
  Json json = Json::object();
  for (const Option& option : schema()) {
    if ((option.verbs & verb) == 0) continue;
    json[option.name] = value_json(run, option);
  }
  if (json.contains("ablation_config")) {
    json["ablation"] = {{"name", run.ablation.name},
                        {"use_profile", run.ablation.use_profile},
                        {"use_history", run.ablation.use_history},
                        {"use_context", run.ablation.use_context}};
  }
  return json;
}

}  // namespace trireme::config
