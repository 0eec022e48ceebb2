// Which elements dropout keeps: a pure function of seed and index, the same on CPU and CUDA, so
// that the backward draws the mask again instead of storing it. SplitMix64 (Steele, Lea, Flood
// 2014) at its state number i: neighbouring elements need no order.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define TRIREME_HOST_DEVICE __host__ __device__
#else
#define TRIREME_HOST_DEVICE
#endif

namespace trireme::ops {

constexpr uint64_t kDropoutStride = 0x9e3779b97f4a7c15ULL;

// Out of 2^32: the probability of being dropped.
inline uint32_t dropout_threshold(double p) { return static_cast<uint32_t>(p * 0x1.0p32); }

TRIREME_HOST_DEVICE inline bool dropout_keeps(uint64_t seed, uint64_t i, uint32_t threshold) {
  uint64_t z = seed + (i + 1) * kDropoutStride;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  z ^= z >> 31;
  return static_cast<uint32_t>(z >> 32) >= threshold;
}

}  // namespace trireme::ops
