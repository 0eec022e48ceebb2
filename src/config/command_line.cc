// Defaults, then the run config, then the command line: the command line is split first, because it
// names the run config, and applied last, because it wins.
#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/nearest.h"
#include "config/names.h"
#include "config/run_config_file.h"
#include "config/schema.h"

namespace trireme::config {
namespace {

// What was typed: a flag, and the value that followed it.
struct Argument {
  std::string flag;
  std::optional<std::string> text;
};

// An option as given: `flag` and `typed` as they were typed, for messages; `text` as it reads it.
struct Given {
  const Option* option;
  std::string flag, typed;
  std::string text;
};

std::string underscored(std::string flag) {
  std::replace(flag.begin() + 2, flag.end(), '-', '_');
  return flag;
}

[[noreturn]] void refuse_flag(Verb verb, const std::string& flag, const Option* other) {
  if (other != nullptr) {
    fail("{}: not an option of trireme {}: see trireme {} --help", flag, verb_name(verb),
         verb_name(verb));
  }
  std::vector<std::string> known;
  for (const Option& option : schema()) {
    if (option.verbs & verb) known.push_back("--" + option.name);
  }
  fail("{}: unknown option{}: see trireme {} --help", flag, did_you_mean(underscored(flag), known),
       verb_name(verb));
}

// Takes options off the front of the arguments.
class Splitter {
 public:
  Splitter(Verb verb, std::span<const std::string> rest) : verb_(verb), rest_(rest) {}

  bool done() const { return rest_.empty(); }

  Argument next() {
    const std::string argument = take();
    if (!argument.starts_with("--") || argument == "--") {
      fail("'{}': an option is expected, as --name value: see trireme {} --help", argument,
           verb_name(verb_));
    }
    const size_t equals = argument.find('=');
    const std::string flag = argument.substr(0, equals);
    if (equals != std::string::npos) return {flag, argument.substr(equals + 1)};
    if (value_follows()) return {flag, take()};
    return {flag, std::nullopt};
  }

 private:
  bool value_follows() const { return !rest_.empty() && !rest_.front().starts_with("--"); }

  std::string take() {
    std::string first = rest_.front();
    rest_ = rest_.subspan(1);
    return first;
  }

  Verb verb_;
  std::span<const std::string> rest_;
};

// A flag alone switches something on.
Given as_given(const Option& option, const Argument& argument, const std::string& text) {
  if (!argument.text && !std::holds_alternative<bool RunConfig::*>(option.field) &&
      text == "true") {
    fail("{}: a value is missing after it", argument.flag);
  }
  return {&option, argument.flag, argument.text.value_or("true"), text};
}

// nullopt for another program's name of what is not needed here.
std::optional<Given> resolve(Verb verb, const Argument& argument,
                             std::vector<std::string>& remarks) {
  const std::string_view name = std::string_view(argument.flag).substr(2);
  const std::string text = argument.text.value_or("true");
  if (const std::optional<Meaning> meaning = meaning_of(name, text, argument.flag)) {
    const Option* option = meaning->option;
    if (option != nullptr && (option->verbs & verb) == 0) refuse_flag(verb, argument.flag, option);
    remarks.push_back(meaning->remark);
    if (option == nullptr) return std::nullopt;
    return as_given(*option, argument, meaning->value);
  }
  const Option* option = find_option(name);
  if (option == nullptr || (option->verbs & verb) == 0) refuse_flag(verb, argument.flag, option);
  return as_given(*option, argument, text);
}

// An option under two names, with two values.
void check_names(const std::vector<Given>& given) {
  const auto value = [](const Given& one) {
    RunConfig run;
    set_option(run, *one.option, one.text, one.flag);
    return option_text(run, *one.option);
  };
  for (size_t i = 0; i < given.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const Given &one = given[i], &other = given[j];
      if (one.option != other.option || underscored(one.flag) == underscored(other.flag)) continue;
      if (value(one) == value(other)) continue;
      fail("{} {}: {} {} was given too, and both are --{}: remove one", one.flag, one.typed,
           other.flag, other.typed, one.option->name);
    }
  }
}

const Ablation& find_ablation(const std::vector<Ablation>& ablations, const std::string& name) {
  const auto found = std::ranges::find(ablations, name, &Ablation::name);
  if (found != ablations.end()) return *found;
  std::vector<std::string> known;
  std::string list;
  for (const Ablation& ablation : ablations) {
    list += (known.empty() ? "" : ", ") + ablation.name;
    known.push_back(ablation.name);
  }
  fail("--ablation_config: '{}' is not known{}: one of {} is expected", name,
       did_you_mean(name, known), list);
}

// A rank given while LoRA is off would silently train the whole model.
void check_lora_is_on(const RunConfig& run, const std::vector<Given>& given) {
  if (run.use_lora) return;
  for (const Given& one : given) {
    if (one.option->json_key.starts_with("model.lora_config.")) {
      fail("{}: without effect, since LoRA is off: give --use_lora too, or leave it out", one.flag);
    }
  }
}

}  // namespace

RunConfig parse_command_line(Verb verb, std::span<const std::string> arguments) {
  RunConfig run;
  std::vector<Given> given;
  for (Splitter splitter(verb, arguments); !splitter.done();) {
    if (auto one = resolve(verb, splitter.next(), run.remarks)) given.push_back(std::move(*one));
  }
  check_names(given);
  for (const Given& one : given) {
    if (one.option->name == "config") run.config = one.text;
  }
  std::vector<Ablation> ablations = built_in_ablations();
  if (!run.config.empty()) read_run_config(run.config, run, ablations);
  for (const Given& one : given) set_option(run, *one.option, one.text, one.flag);
  check_lora_is_on(run, given);
  run.ablation = find_ablation(ablations, run.ablation_config);
  return run;
}

}  // namespace trireme::config
