#include "io/finite.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "io/io_testing.h"

namespace trireme::io {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

template <typename T>
int64_t place(std::vector<T> numbers, DType dtype) {
  return first_not_finite(std::as_bytes(std::span(numbers)), dtype);
}

TEST(Finite, TheFirstPlaceIsFound) {
  const float inf = std::numeric_limits<float>::infinity();
  const float largest = std::numeric_limits<float>::max(), least = 1e-45F;
  for (const int64_t at : {0, 1, 4095, 4096, 10'000}) {
    for (const float bad : {inf, -inf, std::nanf("")}) {
      std::vector<float> numbers(10'001, -largest);
      EXPECT_EQ(place(numbers, DType::kF32), -1);
      numbers.back() = bad, numbers[at] = bad;
      EXPECT_EQ(place(numbers, DType::kF32), at);
    }
  }
  EXPECT_EQ(place<float>({0, -0.0F, least, -largest}, DType::kF32), -1);
  EXPECT_EQ(place<float>({}, DType::kF32), -1);
  EXPECT_EQ(place<double>({1e300, kInf}, DType::kF64), 1);
}

TEST(Finite, HalvesAndWholeNumbers) {
  EXPECT_EQ(place<uint16_t>({0x7bff, 0xfbff, 0x0001, 0x7c00}, DType::kF16), 3);   // 65,504; inf
  EXPECT_EQ(place<uint16_t>({0x7f7f, 0xff7f, 0x0001, 0xffc0}, DType::kBF16), 3);  // 3.4e38; nan
  EXPECT_EQ(place<uint16_t>({0x7c00, 0x7f00}, DType::kBF16), -1);  // F16's inf is a number here
  EXPECT_EQ(place<uint8_t>({0x7e, 0xfe, 0x78, 0x7f}, DType::kF8E4M3), 3);  // 448, -448, 256; nan
  EXPECT_EQ(place<uint8_t>({0, 0x80, 0xff}, DType::kF8E4M3), 2);
  EXPECT_EQ(place<uint8_t>({0, 0x7f, 0xfe, 0xff}, DType::kF8E8M0), 3);  // 2^-127, 1, 2^127; nan
  EXPECT_EQ(place<int64_t>({-1, std::numeric_limits<int64_t>::max()}, DType::kI64), -1);
}

TEST(Finite, SourcesAreRefusedWithNameAndPlace) {
  const std::vector<float> good = {1, 2, 3, 4}, bad = {1, 2, 3, std::nanf(""), 5, 6};
  const auto source = [](const char* name, const std::vector<float>& numbers) {
    return TensorSource{name, DType::kF32, {std::ssize(numbers) / 2, 2}, [&numbers] {
                          return std::as_bytes(std::span(numbers));
                        }};
  };
  const auto tensors = require_finite({source("a", good), source("b", bad)}, "out");
  EXPECT_EQ(tensors[0].bytes().data(), reinterpret_cast<const std::byte*>(good.data()));
  EXPECT_TRUE(
      contains(user_error([&] { tensors[1].bytes(); }), "tensor b has nan at [1, 1] as F32"));
}

}  // namespace
}  // namespace trireme::io
