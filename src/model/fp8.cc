#include "model/fp8.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Float8_e4m3fn.h>

#include <algorithm>
#include <array>
#include <limits>

namespace trireme::model {
namespace {

int64_t blocks_in(int64_t size, int64_t block) { return block == 0 ? 1 : (size - 1) / block + 1; }

const std::array<float, 256>& values() {
  static const std::array<float, 256> table = [] {
    std::array<float, 256> all{};
    for (size_t code = 0; code < all.size(); ++code) {
      all[code] = c10::detail::fp8e4m3fn_to_fp32_value(static_cast<uint8_t>(code));
    }
    return all;
  }();
  return table;
}

int64_t or_endless(int64_t block) {
  return block == 0 ? std::numeric_limits<int64_t>::max() : block;
}

}  // namespace

std::vector<int64_t> Fp8Scales::shape(config::Fp8Blocks blocks, int64_t rows, int64_t columns) {
  return {blocks_in(rows, blocks.rows), blocks_in(columns, blocks.columns)};
}

Fp8Scales::Fp8Scales(std::vector<float> scales, config::Fp8Blocks blocks, int64_t columns)
    : scales_(std::move(scales)),
      rows_(or_endless(blocks.rows)),
      columns_(or_endless(blocks.columns)),
      width_(columns),
      across_(blocks_in(columns, blocks.columns)) {}

template <typename T>
void Fp8Scales::apply(std::span<const std::byte> codes, int64_t first, T* to) const {
  const auto& value = values();
  const auto* code = reinterpret_cast<const uint8_t*>(codes.data());
  const int64_t end = first + static_cast<int64_t>(codes.size());
  for (int64_t at = first; at < end;) {  // what one row has of one block at a time
    const int64_t row = at / width_, column = at % width_, block = column / columns_;
    const int64_t rest = std::min(columns_ - column % columns_, width_ - column);
    const int64_t count = std::min(rest, end - at);
    const float scale = scales_[row / rows_ * across_ + block];
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(value[code[i]] * scale);
    code += count, to += count, at += count;
  }
}

template void Fp8Scales::apply(std::span<const std::byte>, int64_t, float*) const;
template void Fp8Scales::apply(std::span<const std::byte>, int64_t, c10::BFloat16*) const;

}  // namespace trireme::model
