// Which elements dropout keeps: a pure function of seed and index, so that the backward draws the
// mask again instead of storing it.
#pragma once

#include "ops/counter_bits.h"

namespace trireme::ops {

// Out of 2^32: the probability of being dropped.
inline uint32_t dropout_threshold(double p) { return static_cast<uint32_t>(p * 0x1.0p32); }

TRIREME_HOST_DEVICE inline bool dropout_keeps(uint64_t seed, uint64_t i, uint32_t threshold) {
  return static_cast<uint32_t>(counter_bits(seed, i) >> 32) >= threshold;
}

}  // namespace trireme::ops
