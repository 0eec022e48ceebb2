// How numbers are kept: the formats of weights and activations and of Adam's moments, and the bytes
// that they take. Sizes are arithmetic, so that a plan needs no tensor library.
#pragma once

#include <cstdint>

namespace trireme {

// The format of weights and activations (--dtype).
enum class NumberFormat { kFloat32, kBFloat16 };

constexpr int64_t bytes_of(NumberFormat format) { return format == NumberFormat::kFloat32 ? 4 : 2; }
constexpr const char* short_name(NumberFormat format) {
  return format == NumberFormat::kFloat32 ? "fp32" : "bf16";
}

// The format of each of Adam's two moments (--moments_dtype).
enum class MomentFormat { kFloat32, kBFloat16, kEightBit };

constexpr const char* short_name(MomentFormat format) {
  if (format == MomentFormat::kEightBit) return "8-bit";
  return format == MomentFormat::kFloat32 ? "fp32" : "bf16";
}

// Numbers of 8-bit state that share one fp32 scale (ops/eight_bit.h).
inline constexpr int64_t kQuantBlock = 256;
constexpr int64_t quant_blocks(int64_t numel) { return (numel + kQuantBlock - 1) / kQuantBlock; }

// Bytes of one moment of a buffer of `numel` elements, without its scales.
constexpr int64_t moment_numbers_bytes(int64_t numel, MomentFormat format) {
  if (format == MomentFormat::kEightBit) return numel;
  return numel * (format == MomentFormat::kFloat32 ? 4 : 2);
}
// Bytes of the scales of one moment; 0 where it has none.
constexpr int64_t moment_scales_bytes(int64_t numel, MomentFormat format) {
  return format == MomentFormat::kEightBit ? 4 * quant_blocks(numel) : 0;
}
// Bytes of both moments with their scales.
constexpr int64_t moment_bytes(int64_t numel, MomentFormat format) {
  return 2 * (moment_numbers_bytes(numel, format) + moment_scales_bytes(numel, format));
}

}  // namespace trireme
