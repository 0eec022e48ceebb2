// AdamW's state formats: each against a composition of plain steps, the code books against
// bitsandbytes' recipe, and stochastic rounding against its definition.
#include <ATen/Parallel.h>
#include <ATen/ops/full.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "ops/adamw.h"
#include "ops/eight_bit.h"
#include "ops/stochastic_rounding.h"
#include "ops/testing.h"

namespace trireme::ops {
namespace {

using testing::Combine;
using testing::Values;

// bitsandbytes, functional.create_dynamic_map(signed, 7, 8).
std::vector<double> dynamic_map(bool is_signed) {
  std::vector<double> data = {0, 1};
  for (int i = 0; i < 7; ++i) {
    const int cells = 1 << (is_signed ? i : i + 1);
    for (int c = 0; c < cells; ++c) {
      const double low = 0.1 + 0.9 * c / cells, high = 0.1 + 0.9 * (c + 1) / cells;
      const double mean = (low + high) / 2 * std::pow(10.0, i - 6);
      data.push_back(mean);
      if (is_signed) data.push_back(-mean);
    }
  }
  std::ranges::sort(data);
  return data;
}

template <bool kSigned>
void check_code_book() {
  const CodeBook<kSigned> book;
  const std::vector<double> map = dynamic_map(kSigned);
  ASSERT_EQ(map.size(), 256u);
  for (int code = 0; code < 256; ++code) {
    EXPECT_NEAR(book.values[code], map[code], 1e-7 * std::abs(map[code]));
    EXPECT_EQ(encode(book, book.values[code]), code);
  }
  for (double size = 1e-9; size <= 1.0001; size *= 1.0003) {
    for (const double x : {size, -size}) {
      if (x < 0 && !kSigned) continue;
      double nearest = 1;
      for (const double value : map) {
        if (kSigned || value > 0) nearest = std::min(nearest, std::abs(value - x));
      }
      const double own = book.values[encode(book, static_cast<float>(x))];
      EXPECT_LE(std::abs(own - x), nearest * (1 + 1e-6) + 1e-6 * size) << x;
    }
  }
}

TEST(CodeBook, IsBitsandbytesMapAndRoundsToTheNearest) {
  check_code_book<true>();
  check_code_book<false>();
}

TEST(CodeBook, OnlyZeroIsAZeroSecondMoment) {
  const CodeBook<false> book;
  EXPECT_EQ(encode(book, 0.0f), 0);
  EXPECT_EQ(encode(book, 1e-20f), 1);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(encode(book, nan), 255);
  EXPECT_EQ(encode(CodeBook<true>(), nan), 255);
}

float rounded(float x, uint32_t random) {
  const uint32_t bits = round_stochastically(std::bit_cast<uint32_t>(x), random);
  return std::bit_cast<float>(bits << 16);
}

// The mean over n draws of a value that is p of the way to its upper neighbour has a standard error
// of gap sqrt(p (1 - p) / n); five of them are passed once in two million tests.
TEST(StochasticRounding, IsUnbiased) {
  constexpr int64_t kDraws = 1 << 20;
  const RoundingStream stream{.key = counter_bits(7, 3), .first = 0};
  for (const float share : {0.001f, 0.1f, 0.5f, 0.97f}) {
    for (const float low : {1.0f, -3.0f, 0x1p-130f}) {
      const float high = rounded(low, 0xffff) == low
                             ? std::bit_cast<float>(std::bit_cast<uint32_t>(low) + 0x10000u)
                             : low;
      const double gap = static_cast<double>(high) - low;
      const auto x = static_cast<float>(low + share * gap);
      double sum = 0;
      for (int64_t i = 0; i < kDraws; ++i) {
        const float y = rounded(x, part_of(stream.word(i), stream.part(i)));
        ASSERT_TRUE(y == low || y == high);
        sum += static_cast<double>(y) - low;
      }
      const double p = (static_cast<double>(x) - low) / gap;
      EXPECT_NEAR(sum / kDraws / gap, p, 5 * std::sqrt(p * (1 - p) / kDraws)) << low << " " << p;
    }
  }
}

TEST(StochasticRounding, KeepsWhatBFloat16HoldsAndWhatIsNoNumber) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const uint32_t random : {0u, 0x8000u, 0xffffu}) {
    for (const float x : {0.0f, 1.0f, -2.5f, infinity, -infinity}) EXPECT_EQ(rounded(x, random), x);
    EXPECT_TRUE(std::isnan(rounded(std::bit_cast<float>(0x7f800001u), random)));
    EXPECT_TRUE(std::isnan(rounded(std::bit_cast<float>(0xffffffffu), random)));
  }
}

using Format = std::tuple<at::ScalarType, MomentFormat, int64_t>;  // of the weights, moments; n

class AdamWFormats : public testing::TestWithParam<Format> {};

// What a moment's buffer holds, in double, by the map of the recipe.
at::Tensor held(const at::Tensor& data, const at::Tensor& absmax, bool is_signed) {
  if (!absmax.defined()) return data.to(at::kDouble);
  const std::vector<double> map = dynamic_map(is_signed);
  at::Tensor out = at::zeros({data.numel()}, at::kDouble);
  for (int64_t i = 0; i < data.numel(); ++i) {
    out.mutable_data_ptr<double>()[i] =
        map[data.const_data_ptr<uint8_t>()[i]] * absmax.const_data_ptr<float>()[i / kQuantBlock];
  }
  return out;
}

// Each number of x lies where the format of `data` may put the exact one: bf16, within a gap;
// 8-bit, within half a cell: in the upper decade 0.45 / 64 of the block's largest, in all of them
// less than the number itself.
void expect_held(const at::Tensor& x, const at::Tensor& exact, const at::Tensor& data) {
  const at::Tensor error = (x - exact).abs();
  at::Tensor allowed = exact.abs() * 1e-6 + 1e-6;  // sums of numbers around one cancel
  if (data.scalar_type() == at::kBFloat16) allowed += exact.abs() * 0x1p-7;
  if (data.scalar_type() == at::kByte) {
    for (int64_t first = 0; first < exact.numel(); first += kQuantBlock) {
      const int64_t n = std::min(kQuantBlock, exact.numel() - first);
      const at::Tensor size = exact.narrow(0, first, n).abs(), largest = size.max();
      allowed.narrow(0, first, n).add_((size * 0.9 + largest * 1e-6).minimum(largest * 0.0072));
    }
  }
  EXPECT_TRUE((error <= allowed).all().item<bool>()) << (error - allowed).max().item<double>();
}

TEST_P(AdamWFormats, FollowsTheFormulasFromWhatIsHeld) {
  const auto [dtype, format, n] = GetParam();
  at::Tensor param = random_tensor({n}, 1).to(dtype);
  const Moments moments = zero_moments(n, format, at::kCPU);
  for (int64_t step = 1; step <= 4; ++step) {
    const AdamWStep s{.learning_rate = 1e-2, .weight_decay = 0.1, .step = step, .seed = 5};
    const at::Tensor grad = random_tensor({n}, 10 + step) * random_tensor({n}, 20 + step).exp();
    const at::Tensor g = grad.to(at::kDouble);
    const at::Tensor m =
        held(moments.first, moments.first_absmax, true) * s.beta1 + g * (1 - s.beta1);
    const at::Tensor v =
        held(moments.second, moments.second_absmax, false) * s.beta2 + g.square() * (1 - s.beta2);
    const double t = static_cast<double>(step);
    const at::Tensor root = v.sqrt() / std::sqrt(1 - std::pow(s.beta2, t)) + s.epsilon;
    const at::Tensor expected = param.to(at::kDouble) * (1 - s.learning_rate * s.weight_decay) -
                                m / root * (s.learning_rate / (1 - std::pow(s.beta1, t)));
    adamw_(param, grad * 3, moments, s, at::ones({}) * 3);
    expect_held(param.to(at::kDouble), expected, param);
    expect_held(held(moments.first, moments.first_absmax, true), m, moments.first);
    expect_held(held(moments.second, moments.second_absmax, false), v, moments.second);
  }
}

// In two parts, with one thread, and again: the same bits.
TEST_P(AdamWFormats, PositionsAndTheSeedAreAllThatCounts) {
  const auto [dtype, format, n] = GetParam();
  const int64_t cut = n / 2 / kQuantBlock * kQuantBlock;
  const at::Tensor start = random_tensor({n}, 1).to(dtype), grad = random_tensor({n}, 2);
  const AdamWStep s{.learning_rate = 1e-2, .seed = 9, .first = 35};
  const auto run = [&](int64_t first, int64_t count, uint64_t seed) {
    at::Tensor param = start.narrow(0, first, count).clone();
    const Moments moments = zero_moments(count, format, at::kCPU);
    AdamWStep own = s;
    own.first += first;
    own.seed = seed;
    adamw_(param, grad.narrow(0, first, count), moments, own, at::ones({}));
    return std::pair(param, moments.second);
  };
  const auto whole = run(0, n, 9), low = run(0, cut, 9), high = run(cut, n - cut, 9);
  const int threads = at::get_num_threads();
  at::set_num_threads(threads == 1 ? 2 : 1);
  const auto again = run(0, n, 9);
  at::set_num_threads(threads);
  EXPECT_TRUE(again.first.equal(whole.first) && again.second.equal(whole.second));
  for (const auto& [part, of] : {std::pair(low, 0L), std::pair(high, cut)}) {
    EXPECT_TRUE(part.first.equal(whole.first.narrow(0, of, part.first.numel())));
    EXPECT_TRUE(part.second.equal(whole.second.narrow(0, of, part.first.numel())));
  }
  const bool random = dtype == at::kBFloat16 && n > 100;
  EXPECT_EQ(run(0, n, 10).first.equal(whole.first), !random || n <= 100);
}

// Weights, moments and scales keep their bits, after steps that have filled them.
TEST_P(AdamWFormats, ADivisorThatIsNotFiniteSkipsTheUpdate) {
  const auto [dtype, format, n] = GetParam();
  at::Tensor param = random_tensor({n}, 1).to(dtype);
  at::Tensor weight = dtype == at::kFloat ? at::zeros({n}, at::kBFloat16) : at::Tensor();
  const Moments moments = zero_moments(n, format, at::kCPU);
  const auto step = [&](int64_t number, double divisor) {
    const AdamWStep s{.learning_rate = 1e-2, .weight_decay = 0.1, .step = number};
    at::Tensor grad = random_tensor({n}, number);
    if (!std::isfinite(divisor)) grad[n / 2] = divisor;
    adamw_(param, grad, moments, s, at::full({}, divisor, at::kFloat), weight);
  };
  step(1, 1.5);
  const auto state = [&] {
    std::vector<at::Tensor> all = {param, moments.first, moments.second};
    if (weight.defined()) all.push_back(weight);
    if (moments.first_absmax.defined()) all.push_back(moments.first_absmax);
    if (moments.second_absmax.defined()) all.push_back(moments.second_absmax);
    return all;
  };
  std::vector<at::Tensor> before;
  for (const at::Tensor& x : state()) before.push_back(x.clone());
  const double inf = std::numeric_limits<double>::infinity();
  for (const double divisor : {std::nan(""), inf, -inf}) step(2, divisor);
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(state()[i].equal(before[i])) << i;
  step(2, 1.5);
  EXPECT_FALSE(param.equal(before[0]));
}

INSTANTIATE_TEST_SUITE_P(All, AdamWFormats,
                         Combine(Values(at::kFloat, at::kBFloat16),
                                 Values(MomentFormat::kFloat32, MomentFormat::kBFloat16,
                                        MomentFormat::kEightBit),
                                 Values(1, 255, 256, 257, 70001)));

// A step of a tenth of the gap below one, which rounding to nearest would lose: the mean over n
// weights moves by it, within five standard errors.
TEST(AdamWFormats, SmallUpdatesCountInTheMean) {
  const int64_t n = 1 << 18;
  at::Tensor weight = at::ones({n}, at::kBFloat16);
  const double gap = 0x1p-8, update = 0.1 * gap;
  adamw_(weight, at::ones({n}), zero_moments(n, MomentFormat::kFloat32, at::kCPU),
         {.learning_rate = update, .seed = 1}, at::ones({}));
  const double moved = 1 - weight.to(at::kDouble).mean().item<double>();
  EXPECT_NEAR(moved, update, 5 * gap * std::sqrt(0.1 * 0.9 / static_cast<double>(n)));
}

TEST(AdamWFormats, WhatHasNoGradientStaysZero) {
  for (const MomentFormat format : {MomentFormat::kBFloat16, MomentFormat::kEightBit}) {
    at::Tensor weight = at::zeros({1000}, at::kBFloat16);
    const Moments moments = zero_moments(1000, format, at::kCPU);
    at::Tensor grad = random_tensor({1000}, 1);
    grad.narrow(0, 300, 400).zero_();  // a whole block, and parts of two
    for (int64_t step = 1; step <= 3; ++step) {
      adamw_(weight, grad, moments, {.learning_rate = 0.1, .step = step}, at::ones({}));
    }
    EXPECT_TRUE(weight.narrow(0, 300, 400).eq(0).all().item<bool>());
    EXPECT_TRUE(weight.narrow(0, 0, 300).ne(0).all().item<bool>());
    EXPECT_TRUE(weight.isfinite().all().item<bool>());
  }
}

TEST(AdamWFormats, BytesAreThoseOfTheTensors) {
  for (const MomentFormat format :
       {MomentFormat::kFloat32, MomentFormat::kBFloat16, MomentFormat::kEightBit}) {
    const Moments m = zero_moments(1025, format, at::kCPU);
    size_t bytes = m.first.nbytes() + m.second.nbytes();
    if (m.first_absmax.defined()) bytes += m.first_absmax.nbytes() + m.second_absmax.nbytes();
    EXPECT_EQ(moment_bytes(1025, format), static_cast<int64_t>(bytes));
  }
  EXPECT_EQ(moment_bytes(1 << 20, MomentFormat::kEightBit), 2 * ((1 << 20) + (1 << 20) / 64));
}

}  // namespace
}  // namespace trireme::ops
