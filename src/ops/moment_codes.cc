#include "ops/moment_codes.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "ops/eight_bit.h"

namespace trireme::ops {
namespace {

constexpr int64_t kGrain = 256 * kQuantBlock;

template <bool kSigned>
constexpr CodeBook<kSigned> kBook{};

template <bool kSigned>
void encode_blocks(const float* x, int64_t n, uint8_t* codes, float* absmax) {
  for (int64_t first = 0; first < n; first += kQuantBlock) {
    const int64_t end = std::min(first + kQuantBlock, n);
    float most = 0;
    for (int64_t i = first; i < end; ++i) most = std::max(most, std::fabs(x[i]));
    absmax[first / kQuantBlock] = most;
    const float inverse = inverse_absmax(most);
    for (int64_t i = first; i < end; ++i) codes[i] = encode(kBook<kSigned>, x[i] * inverse);
  }
}

}  // namespace

uint8_t zero_code(bool second) {
  return static_cast<uint8_t>(second ? CodeBook<false>::kZero : CodeBook<true>::kZero);
}

at::Tensor decode_moment(const at::Tensor& codes, const at::Tensor& absmax, bool second,
                         int64_t phase) {
  const int64_t n = codes.numel();
  TRIREME_CHECK(absmax.numel() == quant_blocks(phase + n) && codes.is_cpu() && absmax.is_cpu());
  at::Tensor values = at::empty({n}, at::kFloat);
  const float* book = second ? kBook<false>.values : kBook<true>.values;
  const auto* code = codes.const_data_ptr<uint8_t>();
  const auto* scale = absmax.const_data_ptr<float>();
  auto* value = values.mutable_data_ptr<float>();
  at::parallel_for(0, n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      value[i] = book[code[i]] * scale[(phase + i) / kQuantBlock];
    }
  });
  return values;
}

void encode_moment(const at::Tensor& values, bool second, const at::Tensor& codes,
                   const at::Tensor& absmax) {
  const int64_t n = values.numel();
  TRIREME_CHECK(codes.numel() == n && absmax.numel() == quant_blocks(n) && codes.is_cpu());
  const auto* x = values.const_data_ptr<float>();
  auto* code = codes.mutable_data_ptr<uint8_t>();
  auto* scale = absmax.mutable_data_ptr<float>();
  at::parallel_for(0, absmax.numel(), kGrain / kQuantBlock, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kQuantBlock, count = std::min(end * kQuantBlock, n) - first;
    if (second) {
      encode_blocks<false>(x + first, count, code + first, scale + begin);
    } else {
      encode_blocks<true>(x + first, count, code + first, scale + begin);
    }
  });
}

}  // namespace trireme::ops
