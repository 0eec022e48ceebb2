// Row kernels on CPU: compiled for AVX-512, AVX2 and plain x86-64, chosen when the program is
// loaded. `#pragma omp simd` lets reductions be reordered in these loops and nowhere else.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

// The choice is made before the sanitizers are set up.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define TRIREME_SIMD __attribute__((target_clones("avx512f", "arch=x86-64-v3", "default")))
#else
#define TRIREME_SIMD
#endif

namespace trireme::ops {

// e^x to 2 ulp for x in [-87, 88], clamped outside; branch-free, so that loops over it vectorise.
// Range reduction by ln 2 in two parts, degree-6 polynomial (Cephes expf, S. Moshier).
inline float fast_exp(float x) {
  x = x < -87.0f ? -87.0f : x;  // in this order a NaN stays one
  x = x > 88.0f ? 88.0f : x;
  // To the nearest integer: the sum's unit in the last place is one.
  constexpr float kRound = 12582912.0f;
  const float n = (x * 1.44269504088896341f + kRound) - kRound;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const auto exponent = static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23;
  return p * std::bit_cast<float>(exponent);
}

// RMSNorm of one row: 1 / sqrt(mean(x^2) + eps), and y = x * scale * w.
TRIREME_SIMD inline float reciprocal_rms(const float* x, int64_t n, float eps) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += x[i] * x[i];
  return 1.0f / std::sqrt(sum / static_cast<float>(n) + eps);
}

TRIREME_SIMD inline void scale_row(const float* x, const float* w, float scale, float* y,
                                   int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * scale * w[i];
}

}  // namespace trireme::ops
