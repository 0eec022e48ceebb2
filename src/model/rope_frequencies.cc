#include "model/rope_frequencies.h"

#include <ATen/ops/empty.h>

#include <cmath>
#include <numbers>

namespace trireme::model {
namespace {

// transformers modeling_rope_utils._compute_llama3_parameters: long wavelengths are slowed by
// `factor`, short ones kept, those between blended.
double llama3_scaled(double frequency, const config::Llama3RopeScaling& s) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const auto original = static_cast<double>(s.original_max_position_embeddings);
  if (wavelength < original / s.high_freq_factor) return frequency;
  if (wavelength > original / s.low_freq_factor) return frequency / s.factor;
  const double smooth =
      (original / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1 - smooth) * frequency / s.factor + smooth * frequency;
}

}  // namespace

at::Tensor inverse_frequencies(const config::ModelSpec& spec) {
  const int64_t half = spec.head_dim / 2;
  at::Tensor frequencies = at::empty({half}, at::kFloat);
  float* out = frequencies.mutable_data_ptr<float>();
  for (int64_t i = 0; i < half; ++i) {
    const double exponent = static_cast<double>(2 * i) / static_cast<double>(spec.head_dim);
    double frequency = std::pow(spec.rope_theta, -exponent);
    if (spec.rope_scaling) frequency = llama3_scaled(frequency, *spec.rope_scaling);
    out[i] = static_cast<float>(frequency);
  }
  return frequencies;
}

}  // namespace trireme::model
