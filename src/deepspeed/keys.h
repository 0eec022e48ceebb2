// Every key of DeepSpeed 0.19's JSON that is known here: what it may hold, DeepSpeed's default, and
// what becomes of it. The rows: keys.cc (batch, precision, optimizer, schedule),
// keys_zero.cc (ZeRO, offload, activations, parallel sizes) and keys_other.cc
// (reports, checkpoints, compilers, experiments).
#pragma once

#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::deepspeed {

enum class KeyKind { kFlag, kInteger, kNumber, kText, kList, kAnything, kSection };

enum class KeyFate {
  kOpen,     // a section whose keys have rows of their own
  kAlias,    // another name of the key `text`
  kOption,   // sets the option `text`
  kDone,     // holds, whatever the value: `text` says how
  kIdle,     // no effect here: `text` says why
  kOnly,     // its default is how things are here; another value is refused: `text` says why
  kFeature,  // a section that is refused where it is switched on: `text` says why
  kRule,     // decided together with others, in rules*.cc: `text` says how, for docs
};

struct DeepSpeedKey {
  std::string_view path;  // "zero_optimization.stage"
  KeyKind kind;
  std::string_view fallback;  // DeepSpeed's default, as JSON
  KeyFate fate;
  std::string_view text = "";
  std::string_view choices = "";  // "cpu|none"; of texts only; "" = any
  double least = -std::numeric_limits<double>::infinity();
};

// All rows, a section before its keys.
std::span<const DeepSpeedKey> deepspeed_keys();

// nullptr where the path is not known. Aliases are not followed.
const DeepSpeedKey* find_deepspeed_key(std::string_view path);

// " (did you mean 'stage'?)" for a key in a section ("" = top level): the nearest of the section,
// else a key of the same or nearly the same name that belongs elsewhere, by its path; or "".
std::string nearest_deepspeed_key(std::string_view section, std::string_view name);

// Whether DeepSpeed takes what it knows from a section ("" = top level) and passes over the rest
// without a word; it refuses unknown keys of other sections.
bool passes_over_keys(std::string_view section);

// Whether a key that is not known is likely a misspelt or misplaced one: a few letters or its last
// words are missing from a key of the section, or a key of another section has its name (one of
// several words, or one that matters: "dtype" may be anybody's).
bool resembles_deepspeed_key(std::string_view section, std::string_view name);

// The parts that deepspeed_keys() joins.
std::vector<DeepSpeedKey> deepspeed_training_keys();
std::vector<DeepSpeedKey> deepspeed_zero_keys();
std::vector<DeepSpeedKey> deepspeed_other_keys();

}  // namespace trireme::deepspeed
