// --help, two columns: the flag with its kind of value, and the help with what the schema knows.
#include <algorithm>

#include "base/error.h"
#include "config/schema.h"

namespace trireme::config {
namespace {

constexpr size_t kWidth = 100;
constexpr size_t kIndent = 40;  // of the right column: the longest flag and its kind fit before it

// Breaks text at spaces into lines that end before kWidth, the first of which starts at `column`.
std::string wrapped(const std::string& text, size_t column, size_t indent) {
  std::string lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    if (at > 0 && column + 1 + word.size() > kWidth) {
      lines += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (at > 0) {
      lines += ' ';
      ++column;
    }
    lines += word;
    column += word.size();
    at = end + 1;
  }
  return lines + "\n";
}

const char* kind_text(const Option& option) {
  constexpr const char* kinds[] = {"TEXT", "INTEGER", "NUMBER", "[on|off]", "CHOICE"};
  return kinds[option.field.index()];
}

// "[tokens; 1 to 1073741824; default 2048]", with the key in the run config where it is special.
std::string details(const Option& option, bool with_key) {
  std::string text;
  const auto add = [&](const std::string& part) {
    if (!part.empty()) text += (text.empty() ? "[" : "; ") + part;
  };
  add(option.unit);
  add(allowed_text(option));
  std::string value = option_text(RunConfig{}, option);
  if (std::holds_alternative<bool RunConfig::*>(option.field))
    value = value == "true" ? "on" : "off";
  add("default " + (value.empty() ? "none" : value));
  if (with_key && option.json_key != "training." + option.name) add(option.json_key);
  return text + "]";
}

// The options of a verb that people need first, in the order in which they give them. Verbs with
// few options have no such list.
std::vector<std::string> first_options(Verb verb) {
  switch (verb) {
    case kTrain:
      return {"config",        "model",      "data_file", "output_dir", "max_length",
              "learning_rate", "max_epochs", "use_lora",  "deepspeed",  "sequence_parallel_size"};
    case kData:
      return {"config",       "model",      "tokenizer",
              "data_file",    "max_length", "ablation_config",
              "prompt_style", "val_ratio",  "max_samples_per_user",
              "json"};
    case kGenerate:
      return {"model",  "adapter",        "data_file",   "user", "film",
              "prompt", "max_new_tokens", "temperature", "seed", "device"};
    case kBench:
      return {"shape",     "model",         "length",
              "documents", "steps",         "use_lora",
              "device",    "device_memory", "sequence_parallel_size",
              "bound"};
    case kDump:
      return {"model",   "batch",    "out",    "logits", "grads",
              "adapter", "use_lora", "device", "dtype",  "deepspeed"};
    default:
      return {};
  }
}

std::string option_lines(const Option& option, bool with_key) {
  const std::string left = fmt::format("  --{} {}", option.name, kind_text(option));
  return fmt::format("{:<{}}", left, kIndent) +
         wrapped(option.help + " " + details(option, with_key), kIndent, kIndent);
}

}  // namespace

std::string help_text(Verb verb) {
  std::string text = fmt::format("usage: trireme {} [options]\n", verb_name(verb));
  std::string group;
  const bool takes_config = find_option("config")->verbs & verb;
  const std::vector<std::string> first = first_options(verb);
  if (!first.empty()) text += "\nFirst of all\n";
  for (const std::string& name : first) text += option_lines(*find_option(name), takes_config);
  for (const Option& option : schema()) {
    if ((option.verbs & verb) == 0) continue;
    if (std::ranges::find(first, option.name) != first.end()) continue;
    if (option.group != group) text += "\n" + option.group + "\n";
    group = option.group;
    text += option_lines(option, takes_config);
  }
  if (takes_config) {
    text += "\n" + wrapped(
                       "In the run config an option stands in the section training under its "
                       "name (\"training\": {\"max_length\": 4096}), or under the path shown "
                       "in its brackets. The command line wins over the run config.",
                       0, 0);
  }
  return text;
}

}  // namespace trireme::config
