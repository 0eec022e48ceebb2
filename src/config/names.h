// Names that other programs give to options: Hugging Face's Trainer (HF), LLaMA-Factory, ms-swift,
// Axolotl. On the command line and in the run config each is an option of ours by another name, is
// not needed here, or is refused with what to do instead. The table: names_table.cc.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "config/schema.h"

namespace trireme::config {

enum class NameFate { kAlias, kNotNeeded, kRefused };

// A name with one of its values. Of the rows of a name the first that fits counts.
struct ForeignName {
  std::string_view name;   // without dashes
  std::string_view value;  // "" = any; in lower case
  NameFate fate;
  std::string_view text;       // kAlias: the option; else why it is not needed, or what to do
  std::string_view ours = "";  // kAlias: the option's value; "" = the same
};

std::span<const ForeignName> foreign_names();

// The name is in the table, with whatever value; dashes or underscores.
bool is_foreign_name(std::string_view name);

// What a name of the table with a value stands for.
struct Meaning {
  const Option* option = nullptr;  // nullptr: nothing is to be set
  std::string value;               // the option's
  std::string remark;              // a line for the log; "" for an option under its own name
};

// `where` is the place for messages and remarks ("--bf16", "c.json:3:5: training.bf16"). nullopt
// where the table has no row for name and value. Throws UserError for what is refused.
std::optional<Meaning> meaning_of(std::string_view name, const std::string& value,
                                  const std::string& where);

}  // namespace trireme::config
