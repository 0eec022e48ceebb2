#include "engine/generator.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "attention/cached.h"
#include "model/decoder_layer.h"
#include "model/head.h"
#include "model/rope_frequencies.h"
#include "ops/linear.h"
#include "ops/rope.h"

namespace trireme::engine {
namespace {

// The decoder with its caches: feed(tokens) -> logits [V] of the last one.
class CachedDecoder {
 public:
  CachedDecoder(const config::ModelSpec& spec, const model::ModelLayout& layout, ParamStore& params,
                const at::Device& device, int64_t capacity)
      : spec_(spec),
        layout_(layout),
        params_(params),
        device_(device),
        frequencies_(model::inverse_frequencies(spec).to(device)) {
    for (int64_t i = 0; i < spec.layers; ++i) {
      layers_.emplace_back(spec, i);
      caches_.emplace_back(capacity, 1.0 / std::sqrt(spec.head_dim));
    }
  }

  at::Tensor feed(const std::vector<int64_t>& tokens) {
    const auto count = static_cast<int64_t>(tokens.size());
    at::Tensor ids = at::empty({count}, at::kLong);
    std::copy(tokens.begin(), tokens.end(), ids.mutable_data_ptr<int64_t>());
    const Lease embed = params_.lease(0);
    at::Tensor x = ops::embedding(model::param_view(embed.flat(), layout_.blocks[0].params[0]),
                                  ids.to(device_));
    const at::Tensor positions =
        at::arange(length_, length_ + count, at::TensorOptions(at::kLong).device(device_));
    const auto [cos, sin] = ops::rope_table(positions, frequencies_);
    length_ += count;
    for (int64_t i = 0; i < spec_.layers; ++i) {
      const Lease lease = params_.lease(i + 1);
      const model::LayerContext context{&caches_[i], cos, sin, {}};
      x = layers_[i].forward(x, model::layer_params(spec_, layout_, i, lease.flat()), context, {},
                             nullptr);
    }
    const Lease head = params_.lease(layout_.head_block());
    return model::head_logits(spec_, x.narrow(0, count - 1, 1),
                              model::head_params(spec_, layout_, embed.flat(), head.flat()))
        .squeeze(0);
  }

 private:
  const config::ModelSpec& spec_;
  const model::ModelLayout& layout_;
  ParamStore& params_;
  at::Device device_;
  at::Tensor frequencies_;
  std::vector<model::DecoderLayer> layers_;
  std::vector<attention::CachedAttention> caches_;
  int64_t length_ = 0;
};

}  // namespace

std::vector<int64_t> Generator::generate(const std::vector<int64_t>& prompt, int64_t max_new_tokens,
                                         const std::vector<int64_t>& stop,
                                         const SamplingOptions& options, Rng& rng,
                                         const std::function<void(int64_t)>& on_token) {
  CachedDecoder decoder(spec_, layout_, params_, device_,
                        static_cast<int64_t>(prompt.size()) + max_new_tokens);
  std::vector<int64_t> seen = prompt, answer;
  std::vector<int64_t> next = prompt;
  while (static_cast<int64_t>(answer.size()) < max_new_tokens) {
    const int64_t token = sample_token(decoder.feed(next), seen, options, rng);
    if (std::find(stop.begin(), stop.end(), token) != stop.end()) break;
    answer.push_back(token);
    seen.push_back(token);
    next = {token};
    if (on_token) on_token(token);
  }
  return answer;
}

}  // namespace trireme::engine
