// The one list of options. An option is its flag name, the JSON key of the user's run config, where its value lives in
// RunConfig, range, unit, help, the verbs that take it, and whether it changes numbers.
#pragma once

#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/json.h"
#include "config/run_config.h"

namespace trireme::config {

enum class Numerics { kSame, kChanges };

// Verbs an option belongs to, as bits.
enum Verb : unsigned { kTrain = 1, kData = 2, kTokenize = 4, kGenerate = 8, kDump = 16 };

using Field = std::variant<std::string RunConfig::*, int64_t RunConfig::*, double RunConfig::*,
                           bool RunConfig::*>;

struct Option {
  std::string name;               // flag without dashes; also the key in run.json
  std::string json_key;           // "training.max_length"; "" = not in the user's JSON
  Field field;
  std::string unit;               // "tokens", "GiB", ...
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  std::vector<std::string> choices;  // strings only
  unsigned verbs = kTrain;
  Numerics numerics = Numerics::kSame;
  std::string help;
};

std::span<const Option> schema();
const Option* find_option(std::string_view name);

// Sets one option from text, with range and choice checks. `where` names the origin ("--max_length", "file:line").
void set_option(RunConfig& run, const Option& option, const std::string& text,
                const std::string& where);

// argv without the program and the verb -> RunConfig: defaults, then the run config file, then the command line (which
// wins). Throws UserError for unknown flags or keys (nearest name suggested), bad values, missing ablation.
RunConfig parse_command_line(Verb verb, std::span<const std::string> arguments);

// Text of `trireme VERB --help`.
std::string help_text(Verb verb);

// The resolved options of a verb, for run.json.
Json to_json(const RunConfig& run, Verb verb);

}  // namespace trireme::config
