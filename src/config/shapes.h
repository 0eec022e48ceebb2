// Sizes of well-known models, for benchmarks without a model folder.
#pragma once

#include <string>

#include "config/model_spec.h"

namespace trireme::config {

// "qwen3-8b", ...; UserError that lists the names for an unknown one. `rope_scaling` as
// parse_model_spec's.
ModelSpec known_shape(const std::string& name, const std::string& rope_scaling = "");

}  // namespace trireme::config
