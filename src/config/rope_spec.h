// How far a model rotates its queries and keys at each position, as transformers 5.17 reads it
// (modeling_rope_utils.py): rope_theta and rope_scaling of old files, or rope_parameters.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/model_spec_keys.h"

namespace trireme::config {

enum class RopeType { kDefault, kLinear, kDynamic, kYarn, kLongrope, kLlama3 };

// A type has the fields of its comment, and theta; the others keep their initial values.
struct RopeSpec {
  RopeType type = RopeType::kDefault;
  double theta = 10000;
  double factor = 1;             // linear, dynamic, yarn, llama3
  double attention_factor = 1;   // of cosines and sines: yarn, longrope
  int64_t original_positions{};  // of pretraining: all types (max_position where nothing else is)
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  double beta_fast = 32, beta_slow = 1;              // yarn
  bool truncate = true;                              // yarn: the ramp begins and ends at whole dims
  std::vector<double> short_factor, long_factor;     // longrope, [D/2] each

  // Whether the frequencies depend on how long the document is.
  bool by_length() const { return type == RopeType::kDynamic || type == RopeType::kLongrope; }
};

// What else of the model the rotation depends on.
struct RopeModel {
  int64_t head_dim = 0;
  int64_t max_position = 0;
};

std::string_view rope_type_name(RopeType type);

// The keys of the object that describes the rope, among those of a config.json.
Keys rope_keys(const Keys& config);

// From the keys of a config.json. UserError for a type that is not known, keys that it needs and
// that are missing, and values that transformers could not compute with either.
RopeSpec read_rope(const Keys& keys, const RopeModel& model);

// The config with its rope replaced by --rope_scaling's, a JSON object as in config.json. Its
// rope_theta is kept where the object has none, and the positions of pretraining are written down.
// The result is what transformers computes the same rotation from, under the keys that the config
// had. UserError for what is not an object, and for what read_rope() refuses.
Json with_rope_scaling(const Json& config, const std::string& rope_scaling, const RopeModel& model);

// The positions that the model can tell apart as it was trained and scaled.
int64_t covered_positions(const RopeSpec& rope, int64_t max_position);

// What to say of `what`, a document of `length` tokens, where it has more than the covered
// positions, with the --rope_scaling that covers it by YaRN; "" where it has not.
std::string length_warning(const RopeSpec& rope, int64_t max_position, int64_t length,
                           std::string_view what);

}  // namespace trireme::config
