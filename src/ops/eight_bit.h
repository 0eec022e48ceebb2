// 8-bit optimizer state (Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization"):
// blocks of 256 numbers share one fp32, their largest magnitude, and each is a byte, the nearest of
// 256 values in [-1, 1] or [0, 1]. The values are the paper's dynamic ones, as bitsandbytes makes
// them: 0, 1, and in each of the seven decades (s/10, s], s = 10^-6 ... 1, the middles of n equal
// cells; n doubles from decade to decade: 1 to 64 on either side of zero in the signed code book,
// 2 to 128 in the unsigned one. Bytes are in the order of the values.
//
// Unlike there, a second moment that is not zero is never rounded to it: Adam divides by its root,
// and a zero beside a first moment that was kept would make a step of any size.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "base/number_format.h"
#include "ops/counter_bits.h"

namespace trireme::ops {

inline constexpr float kLeastAbsmax = 0x1p-126f;  // of smaller ones the reciprocal overflows

template <bool kSigned>
struct CodeBook {
  static constexpr int kDecades = 7, kExtra = kSigned ? 0 : 1;
  static constexpr int kZero = kSigned ? 127 : 0;  // byte of 0

  float values[256];
  // A magnitude's range is the number of borders at or below it: 0 is zero, 1 to 7 a decade, 8 is
  // one; the last border is out of reach. Its rank among the magnitudes is scale x + offset without
  // the fraction, at most last.
  float borders[kDecades + 2], scale[kDecades + 2], offset[kDecades + 2];
  int32_t last[kDecades + 2];

  TRIREME_HOST_DEVICE constexpr CodeBook() : values(), borders(), scale(), offset(), last() {
    double top = 1e-6, below = 0;  // the decade's upper end; the value before its first
    for (int d = 0; d < kDecades; ++d, top *= 10) {
      const int cells = 1 << (d + kExtra), rank = cells - kExtra;
      borders[d] = static_cast<float>((below + middle(top, 0, cells)) / 2);
      for (int i = 0; i < cells; ++i) set(rank + i, below = middle(top, i, cells));
      scale[d + 1] = static_cast<float>(cells / (0.9 * top));
      offset[d + 1] = static_cast<float>(rank - cells / 9.0);
      last[d + 1] = rank + cells - 1;
    }
    if (!kSigned) {  // only zero is zero, and the first decade's two values share what is left
      borders[0] = kLeastAbsmax;
      scale[1] = 1 / 0.55e-6f;
      offset[1] = 1;
    }
    borders[kDecades] = static_cast<float>((below + 1) / 2);
    borders[kDecades + 1] = 2;
    last[kDecades + 1] = last[kDecades] + 1;
    offset[kDecades + 1] = static_cast<float>(last[kDecades + 1]);
    values[255] = 1;
  }

 private:
  TRIREME_HOST_DEVICE static constexpr double middle(double top, int cell, int cells) {
    return top * (0.1 + 0.9 * (cell + 0.5) / cells);
  }
  TRIREME_HOST_DEVICE constexpr void set(int rank, double value) {
    values[kZero + rank] = static_cast<float>(value);
    if (kSigned) values[kZero - rank] = static_cast<float>(-value);
  }
};

// What a block's numbers are multiplied with before encode().
TRIREME_HOST_DEVICE inline float inverse_absmax(float absmax) {
  return absmax >= kLeastAbsmax ? 1.0f / absmax : 0.0f;
}

// The bits of an fp32.
TRIREME_HOST_DEVICE inline uint32_t float_bits(float x) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(x);
#else
  return std::bit_cast<uint32_t>(x);
#endif
}

// A magnitude's range, a in [0, 1]. In every three binades from 2^-21 on lies one border: which,
// the exponent says; 11/32 is a third of numbers this small.
template <bool kSigned>
TRIREME_HOST_DEVICE inline int32_t range_of(const CodeBook<kSigned>& book, float a) {
  const int32_t binade = static_cast<int32_t>(float_bits(a) >> 23) - (127 - 24);
  const int32_t before = (binade > 0 ? binade : 0) * 11 >> 5;
  return before + (a >= book.borders[before] ? 1 : 0);
}

// The byte of the value nearest to x in [-1, 1]; beyond, and for a NaN, an outermost one.
template <bool kSigned>
TRIREME_HOST_DEVICE inline uint8_t encode(const CodeBook<kSigned>& book, float x) {
  const float size = fabsf(x), a = size < 1.0f ? size : 1.0f;
  const int32_t range = range_of(book, a), last = book.last[range];
  const auto exact = static_cast<int32_t>(fmaf(a, book.scale[range], book.offset[range]));
  const int32_t rank = exact < last ? exact : last;
  if (!kSigned) return static_cast<uint8_t>(rank);
  const int32_t code = CodeBook<kSigned>::kZero + (x < 0 ? -rank : rank);
  return static_cast<uint8_t>(code > 0 ? code : 0);  // there is no -1
}

}  // namespace trireme::ops
