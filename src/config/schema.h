// The one list of options. An option is its flag name, the JSON key of the user's run config, where
// its value lives in RunConfig (whose initialiser is its default), range, unit, help, the verbs
// that take it, and whether it changes numbers. The list itself: schema_options.cc,
// schema_training.cc.
#pragma once

#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "config/choices.h"
#include "config/json.h"
#include "config/run_config.h"

namespace trireme::config {

// kSame: any value gives the same bits.
enum class Numerics { kSame, kChanges };

// What must match on all ranks of a run: the option's value, or the content of the file or folder
// that it names. kNothing: it may differ, or other options cover it.
enum class MustMatch { kValue, kContent, kNothing };

// Verbs an option belongs to, as bits: those that read it. kBench and kDump take what kTrain takes,
// but what an option says otherwise (Option::except). tests/options_test.py finds what nothing
// reads.
enum Verb : unsigned {
  kTrain = 1,
  kData = 2,
  kTokenize = 4,
  kGenerate = 8,
  kBench = 16,
  kDump = 32,
  kExport = 64,
  kInspect = 128
};

// A member that is one of an enum's values, by the enum's words (config/choices.h).
class ChoiceField {
 public:
  template <typename Group, typename Choice>
  requires std::is_enum_v<Choice> ChoiceField(
      Choice Group::*member)  // not explicit: an entry names its member and no more
      : words_(kWords<Choice>),
        get_([member](const RunConfig& run) { return static_cast<size_t>(run.*member); }),
        set_([member](RunConfig& run, size_t index) { run.*member = static_cast<Choice>(index); }) {
  }

  std::span<const std::string_view> words() const { return words_; }
  std::string_view get(const RunConfig& run) const { return words_[get_(run)]; }
  void set(RunConfig& run, size_t index) const { set_(run, index); }

 private:
  std::span<const std::string_view> words_;
  std::function<size_t(const RunConfig&)> get_;
  std::function<void(RunConfig&, size_t)> set_;
};

using Field = std::variant<std::string RunConfig::*, int64_t RunConfig::*, double RunConfig::*,
                           bool RunConfig::*, ChoiceField>;

struct Option {
  std::string name;           // flag without dashes; also the key in run.json
  std::string json_key = "";  // "model.path"; "" = training.<name>, for the options of train
  Field field;
  std::string unit = "";  // "tokens"; "bytes" takes KiB, MiB, GiB, TiB behind the number
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool list = false;    // strings only: names with commas between; in the run config a list will do
  bool object = false;  // strings only: a JSON object; in the run config it may stand as one
  MustMatch must_match = MustMatch::kValue;
  unsigned verbs = kTrain;
  unsigned except = 0;  // of kBench and kDump
  Numerics numerics = Numerics::kSame;
  std::string help = "";
  std::string group = "";  // heading in --help

  // The words of a choice; empty for other options.
  std::vector<std::string> choices() const;
};

std::span<const Option> schema();

const char* verb_name(Verb verb);

// By flag name, dashes or underscores; nullptr if there is none.
const Option* find_option(std::string_view name);

// By a path in the run config: the option's own json_key or training.<name>; nullptr if there is
// none.
const Option* find_option_by_key(std::string_view key);

// Sets one option from text, with range and choice checks, and notes it as given. `where` names the
// origin ("--max_length", "file:line:column: training.max_length"). Throws UserError.
void set_option(RunConfig& run, const Option& option, const std::string& text,
                const std::string& where);

// The option's value as text, as set_option reads it.
std::string option_text(const RunConfig& run, const Option& option);

// "1 to 10", "at least 1", "a, b or c"; "" when anything goes.
std::string allowed_text(const Option& option);

// argv without the program and the verb -> RunConfig: defaults, then the run config file, then the
// command line, which wins; `--flag value` or `--flag=value`, the last of several. Throws UserError
// for unknown flags or keys (nearest name suggested), bad values and unknown ablations.
RunConfig parse_command_line(Verb verb, std::span<const std::string> arguments);

// Text of `trireme VERB --help`, at most 100 columns wide.
std::string help_text(Verb verb);

// The resolved options of a verb and the ablation, for run.json.
Json to_json(const RunConfig& run, Verb verb);

}  // namespace trireme::config
