#include "io/finite.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.h"

namespace trireme::io {
namespace {

constexpr int64_t kChunk = 4096;  // numbers that are looked at together: the loop has no branch

// A number is NaN or infinite if all bits of its exponent are set.
template <typename Bits>
bool all_finite(const Bits* numbers, int64_t count, Bits exponent) {
  unsigned bad = 0;
#pragma omp simd reduction(| : bad)
  for (int64_t i = 0; i < count; ++i)
    bad |= static_cast<unsigned>((numbers[i] & exponent) == exponent);
  return bad == 0;
}

template <typename Bits>
int64_t first_bad(std::span<const std::byte> bytes, Bits exponent) {
  const auto* numbers = reinterpret_cast<const Bits*>(bytes.data());
  const auto count = static_cast<int64_t>(bytes.size() / sizeof(Bits));
  for (int64_t at = 0; at < count; at += kChunk) {
    const int64_t n = std::min(kChunk, count - at);
    if (all_finite(numbers + at, n, exponent)) continue;
    const auto is_bad = [&](Bits number) { return (number & exponent) == exponent; };
    return std::find_if(numbers + at, numbers + at + n, is_bad) - numbers;
  }
  return -1;
}

// Whether a number that is not finite is an infinity: no bit of its fraction is set.
bool infinite(std::span<const std::byte> number, DType dtype) {
  uint64_t bits = 0;
  std::memcpy(&bits, number.data(), static_cast<size_t>(dtype_bytes(dtype)));
  switch (dtype) {
    case DType::kF16:
      return (bits & 0x03ff) == 0;
    case DType::kBF16:
      return (bits & 0x007f) == 0;
    case DType::kF32:
      return (bits & 0x007f'ffff) == 0;
    case DType::kF8E4M3:
    case DType::kF8E8M0:
      return false;
    default:
      return (bits & 0x000f'ffff'ffff'ffff) == 0;
  }
}

}  // namespace

int64_t first_not_finite(std::span<const std::byte> bytes, DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return first_bad<uint16_t>(bytes, 0x7c00);
    case DType::kBF16:
      return first_bad<uint16_t>(bytes, 0x7f80);
    case DType::kF32:
      return first_bad<uint32_t>(bytes, 0x7f80'0000);
    case DType::kF8E4M3:  // of its codes only s.1111.111 is none: NaN
      return first_bad<uint8_t>(bytes, 0x7f);
    case DType::kF8E8M0:
      return first_bad<uint8_t>(bytes, 0xff);
    case DType::kF64:
      return first_bad<uint64_t>(bytes, 0x7ff0'0000'0000'0000);
    default:
      return -1;
  }
}

std::string not_finite_text(std::span<const std::byte> number, DType dtype, int64_t place,
                            const std::vector<int64_t>& shape) {
  std::vector<int64_t> index(shape.size());
  for (size_t i = shape.size(); i-- > 0; place /= shape[i]) index[i] = place % shape[i];
  return fmt::format("{} at [{}]", infinite(number, dtype) ? "inf" : "nan", fmt::join(index, ", "));
}

std::vector<TensorSource> require_finite(std::vector<TensorSource> tensors,
                                         const std::string& path) {
  for (TensorSource& tensor : tensors) {
    tensor.bytes = [bytes = std::move(tensor.bytes), name = tensor.name, dtype = tensor.dtype,
                    shape = tensor.shape, path] {
      const std::span<const std::byte> numbers = bytes();
      if (const int64_t bad = first_not_finite(numbers, dtype); bad >= 0) {
        const auto number = numbers.subspan(static_cast<size_t>(bad * dtype_bytes(dtype)));
        fail(
            "{}: not written, what was there before stands: tensor {} has {} as {}: try a lower "
            "--learning_rate or more --warmup_steps",
            path, name, not_finite_text(number, dtype, bad, shape), dtype_name(dtype));
      }
      return numbers;
    };
  }
  return tensors;
}

}  // namespace trireme::io
