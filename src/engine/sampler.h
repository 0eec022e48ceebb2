// Choosing the next token from logits.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "base/rng.h"

namespace trireme::engine {

struct SamplingOptions {
  double temperature = 0.7;  // 0: the likeliest token
  int64_t top_k = 0;         // 0: all
  double top_p = 1.0;
  double repetition_penalty =
      1.0;  // CTRL (Keskar et al. 2019): logits of seen tokens divided, or multiplied if < 0
};

// logits fp32 [V] on any device; `seen`: prompt and answer so far. Penalty, temperature, top-k,
// top-p in the order that transformers applies them. Ties go to the lowest id.
int64_t sample_token(const at::Tensor& logits, const std::vector<int64_t>& seen,
                     const SamplingOptions& options, Rng& rng);

}  // namespace trireme::engine
