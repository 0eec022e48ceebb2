// One template for all formats: a span of each buffer is opened as fp32, updated, and closed. fp32
// buffers are their own spans; others go through a few thousand numbers that stay in the cache.
#include "ops/adamw_cpu.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>

#include "ops/eight_bit.h"
#include "ops/simd.h"

namespace trireme::ops::cpu {
namespace {

constexpr int64_t kSpan = 2048;  // elements; whole blocks of 8-bit state
constexpr int64_t kGrain = 32;   // spans of a task
static_assert(kSpan % kQuantBlock == 0);

TRIREME_SIMD void widen(const uint16_t* x, float* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = std::bit_cast<float>(static_cast<uint32_t>(x[i]) << 16);
}

// To the nearest, ties to even; as at::BFloat16, whose NaN has one pattern.
TRIREME_SIMD void narrow_nearest(const float* x, uint16_t* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const auto bits = std::bit_cast<uint32_t>(x[i]);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    y[i] = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
  }
}

// y[at..at+n) from x[0..n).
TRIREME_SIMD void narrow_stochastically(const float* x, uint16_t* y, const RoundingStream& stream,
                                        int64_t at, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t random = part_of(stream.word(at + i), stream.part(at + i));
    y[at + i] = round_stochastically(std::bit_cast<uint32_t>(x[i]), random);
  }
}

template <bool kSigned>
constexpr CodeBook<kSigned> kBook{};

TRIREME_SIMD float largest(const float* x, int64_t n) {
  float most = 0;
#pragma omp simd reduction(max : most)
  for (int64_t i = 0; i < n; ++i) {
    const float size = std::fabs(x[i]);
    most = size > most ? size : most;
  }
  return most;
}

template <bool kSigned>
TRIREME_SIMD void decode_block(const uint8_t* codes, float absmax, float* x, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) x[i] = kBook<kSigned>.values[codes[i]] * absmax;
}

template <bool kSigned>
TRIREME_SIMD void encode_block(const float* x, float inverse, uint8_t* codes, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) codes[i] = encode(kBook<kSigned>, x[i] * inverse);
}

// The ways of keeping numbers. open: elements [at, at+n) as fp32, in `buffer` or where they are;
// close: writes them back.
struct Float {
  float* data;
  uint16_t* copy = nullptr;  // bf16, written too

  float* open(int64_t at, int64_t, float*) const { return data + at; }
  void close(const float* x, int64_t at, int64_t n) const {
    if (copy != nullptr) narrow_nearest(x, copy + at, n);
  }
};

struct BFloat16 {
  uint16_t* data;
  RoundingStream stream;

  float* open(int64_t at, int64_t n, float* buffer) const {
    widen(data + at, buffer, n);
    return buffer;
  }
  void close(const float* x, int64_t at, int64_t n) const {
    narrow_stochastically(x, data, stream, at, n);
  }
};

template <bool kSigned>
struct EightBit {
  uint8_t* codes;
  float* absmax;

  float* open(int64_t at, int64_t n, float* buffer) const {
    for (int64_t i = 0; i < n; i += kQuantBlock) {
      const int64_t count = std::min(kQuantBlock, n - i);
      decode_block<kSigned>(codes + at + i, absmax[(at + i) / kQuantBlock], buffer + i, count);
    }
    return buffer;
  }
  void close(const float* x, int64_t at, int64_t n) const {
    for (int64_t i = 0; i < n; i += kQuantBlock) {
      const int64_t count = std::min(kQuantBlock, n - i);
      const float most = absmax[(at + i) / kQuantBlock] = largest(x + i, count);
      encode_block<kSigned>(x + i, inverse_absmax(most), codes + at + i, count);
    }
  }
};

TRIREME_SIMD void update(const AdamWConstants& constants, float scale, float* p, const float* g,
                         float* m, float* v, int64_t n) {
  const AdamWConstants c = constants;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) adamw_element(c, g[i] * scale, p[i], m[i], v[i]);
}

template <typename Param, typename First, typename Second>
void run(const cuda::AdamW& p, float scale, Param param, First first, Second second) {
  const int64_t spans = (p.numel + kSpan - 1) / kSpan;
  at::parallel_for(0, spans, kGrain, [&](int64_t begin, int64_t end) {
    float buffers[3][kSpan];
    for (int64_t at = begin * kSpan; at < std::min(end * kSpan, p.numel); at += kSpan) {
      const int64_t n = std::min(kSpan, p.numel - at);
      float* x = param.open(at, n, buffers[0]);
      float* m = first.open(at, n, buffers[1]);
      float* v = second.open(at, n, buffers[2]);
      update(p.constants, scale, x, p.grad + at, m, v, n);
      param.close(x, at, n);
      first.close(m, at, n);
      second.close(v, at, n);
    }
  });
}

template <typename Param>
void run(const cuda::AdamW& p, float scale, Param param) {
  switch (p.moments) {
    case cuda::MomentType::kFloat:
      return run(p, scale, param, Float{static_cast<float*>(p.m)}, Float{static_cast<float*>(p.v)});
    case cuda::MomentType::kBFloat16:
      return run(p, scale, param, BFloat16{static_cast<uint16_t*>(p.m), p.m_bits},
                 BFloat16{static_cast<uint16_t*>(p.v), p.v_bits});
    case cuda::MomentType::kEightBit:
      return run(p, scale, param, EightBit<true>{static_cast<uint8_t*>(p.m), p.m_absmax},
                 EightBit<false>{static_cast<uint8_t*>(p.v), p.v_absmax});
  }
}

}  // namespace

void adamw(const cuda::AdamW& p, float scale) {
  if (p.dtype == cuda::Dtype::kFloat) {
    run(p, scale, Float{static_cast<float*>(p.param), static_cast<uint16_t*>(p.weight)});
  } else {
    run(p, scale, BFloat16{static_cast<uint16_t*>(p.param), p.param_bits});
  }
}

}  // namespace trireme::ops::cpu
