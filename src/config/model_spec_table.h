// Every key of a model folder's JSON files that transformers 5.17 reads, writes or once wrote for a
// family that trireme knows, and what becomes of it here. docs/models.md is made from these rows.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/json.h"
#include "config/rope_spec.h"

namespace trireme::config {

enum class ModelKeyFate {
  kUsed,      // `text`: what it sets
  kHarmless,  // changes nothing that is computed, trained or written: `text` says why
  kNeutral,   // refused unless null, empty or `neutral`: `text` is what is not built
};

struct ModelKey {
  std::string_view path;  // "attention_dropout", "rope_parameters.factor"
  ModelKeyFate fate;
  std::string_view text;
  // kNeutral: JSON values that mean the same as no key, "|" between. kUsed: who reads it, by
  // model_type or rope_type, "|" between; "": all. For the others transformers ignores it.
  std::string_view scope = "";
};

// Of config.json; paths of rope_parameters stand for rope_scaling and --rope_scaling too.
std::span<const ModelKey> model_keys();

// nullptr where the path is not known.
const ModelKey* find_model_key(std::string_view path);

// null, "" or an empty list or object.
bool is_nothing(const Json& value);

// Whether the value means the same as no key, by a row with kNeutral.
bool is_neutral(const ModelKey& row, const Json& value);

// "a, b and 3 more".
std::string listed_keys(const std::vector<std::string>& keys);

// Judges each key of a config.json by the table, and those that it does not know by their names:
// such a key is refused where the name touches what is computed (attention, rope, loss, router, a
// scale, dropout) and its value is not that of a switch that is off. Returns lines for the log that
// name the keys that have no effect. Throws UserError "file: key is VALUE: ...".
std::vector<std::string> judge_model_keys(const Json& config, const std::string& name,
                                          std::string_view model_type);

// The same of the object in rope_scaling, rope_parameters or --rope_scaling.
std::vector<std::string> judge_rope_keys(const Keys& rope, RopeType type);

}  // namespace trireme::config
