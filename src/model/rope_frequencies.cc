#include "model/rope_frequencies.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/rsub.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>

#include "base/error.h"
#include "ops/rope.h"
#include "ops/to_device.h"

namespace trireme::model {
namespace {

using config::RopeSpec;
using config::RopeType;

// 0, 2/D, 4/D, ...
at::Tensor exponents(int64_t dim) {
  return at::arange(0, dim, 2, at::kLong).to(at::kFloat).div(dim);
}

at::Tensor plain(const RopeSpec& rope, int64_t dim) {
  return at::pow(rope.theta, exponents(dim)).reciprocal();
}

// Long wavelengths are slowed by `factor`, short ones kept, those between blended.
at::Tensor llama3(const RopeSpec& rope, int64_t dim) {
  const at::Tensor kept = plain(rope, dim);
  const auto original = static_cast<double>(rope.original_positions);
  const double low = original / rope.low_freq_factor, high = original / rope.high_freq_factor;
  const at::Tensor wavelength = kept.reciprocal() * (2 * std::numbers::pi);
  const at::Tensor slowed = at::where(wavelength > low, kept / rope.factor, kept);
  const at::Tensor smooth = (wavelength.reciprocal() * original - rope.low_freq_factor) /
                            (rope.high_freq_factor - rope.low_freq_factor);
  const at::Tensor blended = at::rsub(smooth, 1) * slowed / rope.factor + smooth * slowed;
  return at::where((wavelength >= high) * (wavelength <= low), blended, slowed);
}

// NTK: a larger base for documents longer than the model's positions.
at::Tensor dynamic(const RopeSpec& rope, int64_t dim, int64_t positions, int64_t length) {
  const at::Tensor reached = at::scalar_tensor(std::max(length, positions), at::kLong);
  const at::Tensor stretch = (reached * rope.factor).div(positions) - (rope.factor - 1);
  const double power = static_cast<double>(dim) / static_cast<double>(dim - 2);
  return at::pow(stretch.pow(power) * rope.theta, exponents(dim)).reciprocal();
}

// The dimension that turns `rotations` times within the original positions.
double correction_dim(const RopeSpec& rope, int64_t dim, double rotations) {
  const auto original = static_cast<double>(rope.original_positions);
  return static_cast<double>(dim) * std::log(original / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(rope.theta));
}

// YaRN (Peng et al. 2023): fast dimensions are kept, slow ones slowed by `factor`, a ramp between.
at::Tensor yarn(const RopeSpec& rope, int64_t dim) {
  double low = correction_dim(rope, dim, rope.beta_fast);
  double high = correction_dim(rope, dim, rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dim - 1));
  if (low == high) high += 0.001;
  const at::Tensor ramp = ((at::arange(dim / 2, at::kFloat) - low) / (high - low)).clamp(0, 1);
  const at::Tensor keep = at::rsub(ramp, 1);
  const at::Tensor periods = at::pow(rope.theta, exponents(dim));
  return (periods * rope.factor).reciprocal() * at::rsub(keep, 1) + periods.reciprocal() * keep;
}

at::Tensor longrope(const RopeSpec& rope, int64_t dim, int64_t length) {
  const bool beyond = length > rope.original_positions;
  const at::Tensor factors = at::tensor(beyond ? rope.long_factor : rope.short_factor, at::kFloat);
  return (factors * at::pow(rope.theta, exponents(dim))).reciprocal();
}

}  // namespace

at::Tensor inverse_frequencies(const config::ModelSpec& spec, int64_t length) {
  const RopeSpec& rope = spec.rope;
  switch (rope.type) {
    case RopeType::kDefault:
      return plain(rope, spec.head_dim);
    case RopeType::kLinear:
      return plain(rope, spec.head_dim) / rope.factor;
    case RopeType::kDynamic:
      if (length <= spec.max_position) return plain(rope, spec.head_dim);
      return dynamic(rope, spec.head_dim, spec.max_position, length);
    case RopeType::kYarn:
      return yarn(rope, spec.head_dim);
    case RopeType::kLongrope:
      return longrope(rope, spec.head_dim, length);
    case RopeType::kLlama3:
      return llama3(rope, spec.head_dim);
  }
  TRIREME_CHECK(false, "rope type {}", static_cast<int>(rope.type));
}

RotaryEmbedding::RotaryEmbedding(const config::ModelSpec& spec, const at::Device& device)
    : spec_(spec), device_(device) {
  if (!by_length()) frequencies_ = inverse_frequencies(spec, 0).to(device);
}

// [S, D/2]. Documents of one length have the same frequencies, and so have all that are within the
// original positions: the first ones, which are there for a rank without rows too.
at::Tensor RotaryEmbedding::of_rows(const std::vector<int64_t>& lengths) const {
  const int64_t original = spec_.rope.original_positions;
  std::map<int64_t, int64_t> index = {{original, 0}};
  std::vector<at::Tensor> frequencies = {inverse_frequencies(spec_, original)};
  std::vector<int64_t> rows;
  rows.reserve(lengths.size());
  for (const int64_t length : lengths) {
    const int64_t reached = std::max(length, original);
    const auto [place, is_new] = index.try_emplace(reached, std::ssize(frequencies));
    if (is_new) frequencies.push_back(inverse_frequencies(spec_, reached));
    rows.push_back(place->second);
  }
  return at::stack(frequencies).to(device_).index_select(0, ops::to_device(rows, device_));
}

std::pair<at::Tensor, at::Tensor> RotaryEmbedding::table(
    const at::Tensor& positions, const std::vector<int64_t>& lengths) const {
  if (!by_length()) {
    return ops::rope_table(positions, frequencies_, spec_.rope.attention_factor);
  }
  TRIREME_CHECK(std::ssize(lengths) == positions.size(0), "{}", lengths.size());
  return ops::rope_table(positions, of_rows(lengths), spec_.rope.attention_factor);
}

}  // namespace trireme::model
