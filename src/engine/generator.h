// Writes text token by token with a key/value cache per layer.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "config/model_spec.h"
#include "engine/sampler.h"
#include "engine/stores.h"

namespace trireme::engine {

class Generator {
 public:
  Generator(const config::ModelSpec& spec, const model::ModelLayout& layout, ParamStore& params,
            const at::Device& device)
      : spec_(spec), layout_(layout), params_(params), device_(device) {}

  // Continues `prompt` until a token of `stop` or `max_new_tokens`; returns the new tokens without
  // the stop token. `on_token` (may be empty) sees each as it comes.
  std::vector<int64_t> generate(const std::vector<int64_t>& prompt, int64_t max_new_tokens,
                                const std::vector<int64_t>& stop, const SamplingOptions& options,
                                Rng& rng, const std::function<void(int64_t)>& on_token = {});

 private:
  const config::ModelSpec& spec_;
  const model::ModelLayout& layout_;
  ParamStore& params_;
  at::Device device_;
};

}  // namespace trireme::engine
