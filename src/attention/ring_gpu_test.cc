// A ring of 8 ranks that take turns on one GPU, and exchange through host memory, against one rank
// with the whole sequence. bf16: each result is rounded to 2^-9 of itself, and so are the parts
// that the ring sums in fp32, so that its errors against fp32 are those of one rank times the
// square root of two at most; outputs and gradients are within the kernels' tolerance of each other
// and of fp32.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "attention/gpu_testing.h"

namespace trireme::attention {
namespace {

using config::RingOrder;

constexpr int64_t kRanks = 8;
constexpr double kGrowth = 1.5;  // of errors against fp32

class RingGpu : public testing::TestWithParam<std::tuple<Case, RingOrder>> {};

INSTANTIATE_TEST_SUITE_P(Attention, RingGpu,
                         testing::Values(std::tuple{Case{1, 65536, 32, 8, 128}, RingOrder::kZigzag},
                                         std::tuple{Case{5, 13107, 32, 8, 128},
                                                    RingOrder::kBalanced}));

TEST_P(RingGpu, OfEightEqualsTheSingleCall) {
  const auto& [c, order] = GetParam();
  const Inputs in = make_inputs(c);
  LocalAttention single(c.starts(), at::kCUDA, c.scale());
  const Result one = pass(single, in), many = ring(c.starts(), kRanks, order, in, c.scale());
  const std::array<double, 4> apart = {ops::relative_error(many.forward.out, one.forward.out),
                                       ops::relative_error(many.gradients.dq, one.gradients.dq),
                                       ops::relative_error(many.gradients.dk, one.gradients.dk),
                                       ops::relative_error(many.gradients.dv, one.gradients.dv)};
  const auto of_one = sampled_errors(c, in, one), of_many = sampled_errors(c, in, many);
  constexpr const char* kNames[] = {"out", "dq", "dk", "dv"};
  for (size_t i = 0; i < apart.size(); ++i) {
    fmt::print("{} x {} tokens, {}: {:.2e} from one rank's; against fp32 {:.2e}, one rank {:.2e}\n",
               c.documents, c.length, kNames[i], apart[i], of_many[i], of_one[i]);
    EXPECT_LT(apart[i], kTolerance) << kNames[i];
    EXPECT_LT(of_many[i], kTolerance) << kNames[i];
    EXPECT_LE(of_many[i], kGrowth * of_one[i]) << kNames[i];
  }
  EXPECT_LT(ops::relative_error(many.forward.lse, one.forward.lse), 1e-6);
}

}  // namespace
}  // namespace trireme::attention
