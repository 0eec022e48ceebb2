// generation_config.json: where generation stops, and the values that it takes by default.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/run_config.h"

namespace trireme::config {

struct GenerationConfig {
  std::vector<int64_t> eos_ids;       // none: generation does not stop before its length
  std::vector<std::string> used;      // "temperature 0.6": taken as options' values
  std::vector<std::string> not_used;  // "num_beams 4": what transformers would generate with
  std::vector<std::string> unknown;   // to transformers too
};

// Reads folder/generation_config.json; nothing where there is none: then config.json counts. Values
// become those of options of `run` that were not given. As in transformers do_sample (false by
// default) decides between sampling and always the most likely token. UserError naming the key for
// an invalid value.
std::optional<GenerationConfig> read_generation_config(const std::string& folder, RunConfig& run);

}  // namespace trireme::config
