// Defaults, then the run config, then the command line: the command line is split first, because it
// names the run config, and applied last, because it wins.
#include <algorithm>

#include "base/error.h"
#include "base/nearest.h"
#include "config/run_config_file.h"
#include "config/schema.h"

namespace trireme::config {
namespace {

// An option as given: `flag` as it was typed, for messages.
struct Given {
  const Option* option;
  std::string flag;
  std::string text;
};

[[noreturn]] void refuse_flag(Verb verb, const std::string& flag, const Option* other) {
  if (other != nullptr) {
    fail("{}: not an option of trireme {}: see trireme {} --help", flag, verb_name(verb),
         verb_name(verb));
  }
  std::vector<std::string> known;
  for (const Option& option : schema()) {
    if (option.verbs & verb) known.push_back("--" + option.name);
  }
  std::string underscored = flag;
  std::replace(underscored.begin() + 2, underscored.end(), '-', '_');
  fail("{}: unknown option{}: see trireme {} --help", flag, did_you_mean(underscored, known),
       verb_name(verb));
}

// Takes options off the front of the arguments.
class Splitter {
 public:
  Splitter(Verb verb, std::span<const std::string> rest) : verb_(verb), rest_(rest) {}

  bool done() const { return rest_.empty(); }

  Given next() {
    const std::string argument = take();
    if (!argument.starts_with("--") || argument == "--") {
      fail("'{}': an option is expected, as --name value: see trireme {} --help", argument,
           verb_name(verb_));
    }
    const size_t equals = argument.find('=');
    const std::string flag = argument.substr(0, equals);
    const Option* option = find_option(std::string_view(flag).substr(2));
    if (option == nullptr || (option->verbs & verb_) == 0) refuse_flag(verb_, flag, option);
    if (equals != std::string::npos) return {option, flag, argument.substr(equals + 1)};
    if (value_follows()) return {option, flag, take()};
    if (std::holds_alternative<bool RunConfig::*>(option->field)) return {option, flag, "true"};
    fail("{}: a value is missing after it", flag);
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
  for (Splitter splitter(verb, arguments); !splitter.done();) given.push_back(splitter.next());
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
