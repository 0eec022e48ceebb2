// What all verbs begin with: arguments, --help, and required options.
#pragma once

#include <span>
#include <string>

#include "config/model_spec.h"
#include "config/schema.h"

namespace trireme::cli {

// The arguments after the verb.
using Arguments = std::span<const std::string>;

// True when --help was asked for, and printed.
bool help_shown(config::Verb verb, Arguments arguments);

// The options of a verb, as config::parse_command_line; logs what became of other programs' names,
// on the first rank.
config::RunConfig parse_options(config::Verb verb, Arguments arguments);

// UserError that names the flag when `value` is empty.
void require(const std::string& value, const std::string& flag, const std::string& remedy);

// --tokenizer, or the model's folder.
std::string tokenizer_folder(const config::FileOptions& files);

}  // namespace trireme::cli
