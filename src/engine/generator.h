// Writes text token by token with a key/value cache per layer.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/sampler.h"
#include "state/weights.h"

namespace trireme::engine {

class Generator {
 public:
  // All references outlive the generator.
  Generator(const layout::Model& model, state::Weights& weights, const at::Device& device)
      : model_(model), weights_(weights), device_(device) {}

  // Continues `prompt` until a token of `stop` or `max_new_tokens`; returns the new tokens, that
  // one too. `on_token` (may be empty) is called with each token.
  std::vector<int64_t> generate(const std::vector<int64_t>& prompt, int64_t max_new_tokens,
                                const std::vector<int64_t>& stop, const SamplingOptions& options,
                                Rng& rng, const std::function<void(int64_t)>& on_token = {});

 private:
  const layout::Model& model_;
  state::Weights& weights_;
  at::Device device_;
};

}  // namespace trireme::engine
