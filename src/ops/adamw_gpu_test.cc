// AdamW on CUDA against the CPU, in every format of its state.
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "ops/adamw.h"
#include "ops/gpu_testing.h"

namespace trireme::ops {
namespace {

using testing::Combine;
using testing::Values;

class AdamWGpu : public testing::TestWithParam<int64_t> {};

TEST_P(AdamWGpu, FollowsTheCpu) {
  const int64_t n = GetParam();
  Both param = random_both({n}, 1, at::kFloat), m(at::zeros({n}), at::kFloat), v = m.clone();
  const Both divisor(at::ones({}) * 1.7, at::kFloat);
  at::Tensor weight = at::zeros({n}, param.device.options().dtype(at::kBFloat16));
  for (int64_t step = 1; step <= 3; ++step) {
    const AdamWStep s{.learning_rate = 1e-2, .weight_decay = 0.1, .step = step};
    const Both grad = random_both({n}, 10 + step, at::kFloat);
    adamw_(param.device, grad.device, {m.device, v.device}, s, divisor.device, weight);
    adamw_(param.host, grad.host, {m.host, v.host}, s, divisor.host);
  }
  EXPECT_LT(gpu_error(param.device, param.host), 1e-6);
  EXPECT_LT(gpu_error(m.device, m.host), 1e-6);
  EXPECT_LT(gpu_error(v.device, v.host), 1e-6);
  EXPECT_TRUE(same_bits(weight, param.device.to(at::kBFloat16)));
}

TEST_P(AdamWGpu, SumOfSquares) {
  const Both x = random_both({GetParam()}, 1, at::kFloat);
  const at::Tensor sum = sum_of_squares(x.device);
  const double expected = x.host.to(at::kDouble).square().sum().item<double>();
  EXPECT_EQ(sum.scalar_type(), at::kDouble);
  EXPECT_NEAR(sum.item<double>(), expected, 1e-12 * expected);
  EXPECT_TRUE(same_bits(sum_of_squares(x.device), sum));
}

INSTANTIATE_TEST_SUITE_P(Sizes, AdamWGpu, Values(1, 4, 1023, 70001, 5'000'000));

TEST(AdamWGpu, SlicesThatAreNotAligned) {
  const Both x = random_both({1001}, 1, at::kFloat).narrow(0, 1, 999);
  const double expected = x.host.to(at::kDouble).square().sum().item<double>();
  EXPECT_NEAR(sum_of_squares(x.device).item<double>(), expected, 1e-12 * expected);
  Both param = x.clone(), m(at::zeros({1000}), at::kFloat);
  at::Tensor flat = m.device.clone(), first = m.device.narrow(0, 1, 999);
  adamw_(param.device, x.device, {first, flat.narrow(0, 0, 999)}, {.learning_rate = 0.1},
         at::ones({}, flat.options()));
  at::Tensor host_m = at::zeros({999}), host_v = at::zeros({999});
  adamw_(param.host, x.host, {host_m, host_v}, {.learning_rate = 0.1}, at::ones({}));
  EXPECT_LT(gpu_error(param.device, param.host), 1e-6);
}

TEST(AdamWGpu, ADivisorThatIsNotFiniteSkipsTheUpdate) {
  const int64_t n = 70001;
  for (const MomentFormat format :
       {MomentFormat::kFloat32, MomentFormat::kBFloat16, MomentFormat::kEightBit}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      at::Tensor param = random_tensor({n}, 1).to(at::kCUDA, dtype);
      const at::Tensor grad = random_tensor({n}, 2).to(at::kCUDA);
      const Moments moments = zero_moments(n, format, at::kCUDA);
      const auto step = [&](double divisor) {
        adamw_(param, grad, moments, {.learning_rate = 0.1},
               at::ones({}, grad.options()) * divisor);
      };
      step(1);
      const at::Tensor before[] = {param.clone(), moments.first.clone(), moments.second.clone()};
      for (const double divisor : {std::nan(""), HUGE_VAL}) step(divisor);
      EXPECT_TRUE(same_bits(param, before[0]));
      EXPECT_TRUE(same_bits(moments.first, before[1]));
      EXPECT_TRUE(same_bits(moments.second, before[2]));
      step(1);
      EXPECT_FALSE(same_bits(param, before[0]));
    }
  }
}

// Weights' dtype, moments, elements, elements before the first.
using AdamWFormat = std::tuple<at::ScalarType, MomentFormat, int64_t, int64_t>;
class AdamWFormatsGpu : public testing::TestWithParam<AdamWFormat> {};

// Arithmetic, rounding and codes are the CPU's, bit for bit.
TEST_P(AdamWFormatsGpu, TheBitsOfTheCpu) {
  const auto [dtype, format, n, before] = GetParam();
  const at::Tensor start = random_tensor({before + n}, 1).to(dtype);
  at::Tensor host = start.narrow(0, before, n).clone();
  at::Tensor device = start.to(at::kCUDA).narrow(0, before, n);
  const Moments here = zero_moments(n, format, at::kCPU),
                there = zero_moments(n, format, at::kCUDA);
  for (int64_t step = 1; step <= 3; ++step) {
    const AdamWStep s{.learning_rate = 1e-2,
                      .weight_decay = 0.1,
                      .step = step,
                      .seed = 77 + static_cast<uint64_t>(step),
                      .first = before};
    at::Tensor grad = random_tensor({n}, 10 + step) * random_tensor({n}, 20 + step).exp();
    grad.narrow(0, n / 3, n / 3).zero_();
    const at::Tensor divisor = at::ones({}) * 1.7;
    adamw_(host, grad, here, s, divisor);
    adamw_(device, grad.to(at::kCUDA), there, s, divisor.to(at::kCUDA));
  }
  EXPECT_TRUE(same_bits(device.to(at::kCPU), host));
  EXPECT_TRUE(same_bits(there.first.to(at::kCPU), here.first));
  EXPECT_TRUE(same_bits(there.second.to(at::kCPU), here.second));
  if (format != MomentFormat::kEightBit) return;
  EXPECT_TRUE(same_bits(there.first_absmax.to(at::kCPU), here.first_absmax));
  EXPECT_TRUE(same_bits(there.second_absmax.to(at::kCPU), here.second_absmax));
}

// With 0 or 64 elements before and a multiple of 4 in all, packs of four; else one by one.
INSTANTIATE_TEST_SUITE_P(
    All, AdamWFormatsGpu,
    Combine(Values(at::kFloat, at::kBFloat16),
            Values(MomentFormat::kFloat32, MomentFormat::kBFloat16, MomentFormat::kEightBit),
            Values(4, 255, 256, 257, 1000, 70001, 5'000'000), Values(0, 1, 64)));

TEST(AdamWFormatsCopyGpu, TheCopyOfTheMasterIsRoundedToTheNearest) {
  for (const int64_t n : {1000, 1001}) {
    at::Tensor param = random_tensor({n}, 1).to(at::kCUDA);
    at::Tensor weight = at::zeros({n}, param.options().dtype(at::kBFloat16));
    adamw_(param, random_tensor({n}, 2).to(at::kCUDA),
           zero_moments(n, MomentFormat::kEightBit, at::kCUDA), {.learning_rate = 0.1},
           at::ones({}, param.options()), weight);
    EXPECT_TRUE(same_bits(weight, param.to(at::kBFloat16)));
  }
}

// The last elements of an update of 2^31 and some are those of the end alone.
TEST(LargeAdamWGpu, PositionsAre64Bits) {
  const int64_t before = int64_t{1} << 31, n = 1000;
  const auto options = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);
  const Both weight = random_both({n}, 1, at::kBFloat16), grad = random_both({n}, 2, at::kFloat);
  at::Tensor weights = at::zeros({before + n}, options), host = weight.host.to(at::kBFloat16);
  at::Tensor grads = at::zeros({before + n}, options.dtype(at::kFloat));
  weights.narrow(0, before, n).copy_(weight.device);
  grads.narrow(0, before, n).copy_(grad.device);
  const Moments there = zero_moments(before + n, MomentFormat::kEightBit, at::kCUDA);
  const Moments here = zero_moments(n, MomentFormat::kEightBit, at::kCPU);
  const AdamWStep s{.learning_rate = 1e-2, .seed = 4};
  adamw_(weights, grads, there, s, at::ones({}, grads.options()));
  AdamWStep end = s;
  end.first = before;
  adamw_(host, grad.host, here, end, at::ones({}));
  EXPECT_TRUE(same_bits(weights.narrow(0, before, n).to(at::kCPU), host));
  EXPECT_TRUE(same_bits(there.second.narrow(0, before, n).to(at::kCPU), here.second));
}

}  // namespace
}  // namespace trireme::ops
