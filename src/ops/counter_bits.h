// Random bits that are a pure function of a seed and an index, the same on CPU and CUDA: nothing is
// stored, and neighbouring elements need no order. SplitMix64 (Steele, Lea, Flood 2014) at its
// state number i.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define TRIREME_HOST_DEVICE __host__ __device__
#else
#define TRIREME_HOST_DEVICE
#endif

namespace trireme::ops {

constexpr uint64_t kCounterStride = 0x9e3779b97f4a7c15ULL;

TRIREME_HOST_DEVICE inline uint64_t counter_bits(uint64_t seed, uint64_t i) {
  uint64_t z = seed + (i + 1) * kCounterStride;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

}  // namespace trireme::ops
