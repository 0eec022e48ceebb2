// What quantization_config of a config.json says. Read are weights in float8 with a scale for each
// block (transformers FineGrainedFP8Config), as Qwen3-*-FP8 and DeepSeek publish them.
#pragma once

#include <cstdint>
#include <string>

#include "config/json.h"

namespace trireme::config {

// Each block of a matrix, of so many rows and columns, has a scale; 0: one scale for the whole.
struct Fp8Blocks {
  int64_t rows = 128;
  int64_t columns = 128;
};

// `name` is the file's. UserError for any other quantisation, and for values that are not known.
Fp8Blocks read_fp8(const Json& quantization, const std::string& name);

}  // namespace trireme::config
