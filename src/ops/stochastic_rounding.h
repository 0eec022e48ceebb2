// Stochastic rounding of fp32 to bf16 (Gupta et al. 2015, "Deep Learning with Limited Numerical
// Precision"): up with the probability that the value's distance to the lower neighbour has of the
// gap, so that the mean is the value, and updates far below half a unit in the last place count in
// the mean where rounding to nearest loses them all. 16 random bits are added to the 16 that go. A
// number's bits are a function of the stream and its position alone: the same on CPU and CUDA, in
// any order and number of threads, and in a run that continues from a checkpoint.
#pragma once

#include "ops/counter_bits.h"

namespace trireme::ops {

// One buffer's random bits in one update: 16 a position, four positions a word.
struct RoundingStream {
  uint64_t key;
  int64_t first;  // position of the buffer's element 0

  TRIREME_HOST_DEVICE uint64_t word(int64_t i) const {
    return counter_bits(key, static_cast<uint64_t>(first + i) / 4);
  }
  // Which of its word's four parts an element has.
  TRIREME_HOST_DEVICE uint32_t part(int64_t i) const {
    return static_cast<uint32_t>(first + i) % 4;
  }
};

TRIREME_HOST_DEVICE inline uint32_t part_of(uint64_t word, uint32_t part) {
  return static_cast<uint32_t>(word >> (16 * part)) & 0xffffu;
}

// The bf16 of the fp32 number with these bits, rounded by `random` in [0, 2^16). Infinities stay;
// a NaN becomes a quiet one.
TRIREME_HOST_DEVICE inline uint16_t round_stochastically(uint32_t bits, uint32_t random) {
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return static_cast<uint16_t>((nan ? bits | 0x400000u : bits + random) >> 16);
}

}  // namespace trireme::ops
