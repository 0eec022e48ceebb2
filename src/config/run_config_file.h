// The user's run config JSON: sections model, data and training, whose keys are options of the
// schema, and ablation_configs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/run_config.h"

namespace trireme::config {

// The eight ablations that need no definition.
std::vector<Ablation> built_in_ablations();

// Sets the options that the file gives, and lets its ablations replace or extend `ablations`.
// Throws UserError naming file, line, column and key for whatever the schema does not know or
// allow.
void read_run_config(const std::string& path, RunConfig& run, std::vector<Ablation>& ablations);

// The same for a text; `name` is the file's name for messages.
void parse_run_config(std::string_view text, const std::string& name, RunConfig& run,
                      std::vector<Ablation>& ablations);

}  // namespace trireme::config
