#include "engine/generator.h"

#include <ATen/ops/arange.h>

#include <algorithm>
#include <cmath>

#include "attention/cached.h"
#include "model/decoder_layer.h"
#include "model/head.h"
#include "model/rope_frequencies.h"
#include "ops/to_device.h"

namespace trireme::engine {
namespace {

// The decoder with its caches: feed(tokens) -> logits [V] of the last one.
class CachedDecoder {
 public:
  CachedDecoder(const layout::Model& model, state::Weights& weights, const at::Device& device,
                int64_t capacity)
      : model_(model), weights_(weights), device_(device), rotary_(model.spec, device) {
    for (int64_t i = 0; i < model.spec.layers; ++i) {
      layers_.emplace_back(model.spec, i);
      caches_.emplace_back(capacity, 1.0 / std::sqrt(model.spec.head_dim));
    }
  }

  at::Tensor feed(const std::vector<int64_t>& tokens) {
    const auto count = static_cast<int64_t>(tokens.size());
    at::Tensor x = weights_.embed(ops::to_device(tokens, device_));
    const at::Tensor positions =
        at::arange(length_, length_ + count, at::TensorOptions(at::kLong).device(device_));
    length_ += count;
    // Keys that are in the cache stay as the length of their time had them rotated.
    const std::vector<int64_t> lengths(rotary_.by_length() ? count : 0, length_);
    const auto [cos, sin] = rotary_.table(positions, lengths);
    for (int64_t i = 0; i < model_.spec.layers; ++i) {
      const state::Weights::Layer layer = weights_.layer(i);
      x = layers_[i].forward(x, layer.params, {&caches_[i], cos, sin, pass_}, {}, nullptr);
    }
    return model::head_logits(model_.spec, x.narrow(0, count - 1, 1), weights_.head().params)
        .squeeze(0);
  }

 private:
  const layout::Model& model_;
  state::Weights& weights_;
  at::Device device_;
  model::RotaryEmbedding rotary_;
  model::Pass pass_;
  std::vector<model::DecoderLayer> layers_;
  std::vector<attention::CachedAttention> caches_;
  int64_t length_ = 0;
};

}  // namespace

std::vector<int64_t> Generator::generate(const std::vector<int64_t>& prompt, int64_t max_new_tokens,
                                         const std::vector<int64_t>& stop,
                                         const SamplingOptions& options, Rng& rng,
                                         const std::function<void(int64_t)>& on_token) {
  CachedDecoder decoder(model_, weights_, device_,
                        static_cast<int64_t>(prompt.size()) + max_new_tokens);
  std::vector<int64_t> seen = prompt, answer;
  std::vector<int64_t> next = prompt;
  while (static_cast<int64_t>(answer.size()) < max_new_tokens) {
    const int64_t token = sample_token(decoder.feed(next), seen, options, rng);
    answer.push_back(token);
    seen.push_back(token);
    next = {token};
    if (on_token) on_token(token);
    if (std::find(stop.begin(), stop.end(), token) != stop.end()) break;
  }
  return answer;
}

}  // namespace trireme::engine
