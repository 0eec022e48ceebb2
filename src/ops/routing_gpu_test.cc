#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include "ops/gpu_testing.h"
#include "ops/routing.h"

namespace trireme::ops {
namespace {

using testing::Combine;
using testing::Values;

struct RouterCase {
  int64_t experts, choices;
  bool normalise;
};

class RoutingGpu : public testing::TestWithParam<std::tuple<at::ScalarType, int64_t, RouterCase>> {
 protected:
  void SetUp() override {
    std::tie(dtype, tokens, shape) = GetParam();
    at::Tensor x = random_tensor({tokens, shape.experts}, 1);
    x.select(1, shape.experts / 2).fill_(-60);  // an expert without tokens
    logits = Both(x, dtype);                    // in bf16 many logits are equal: ties
    device = route(logits.device, shape.choices, shape.normalise);
    host = route(logits.host, shape.choices, shape.normalise);
  }
  at::ScalarType dtype;
  int64_t tokens = 0;
  RouterCase shape;
  Both logits;
  Routing device, host;
};

TEST_P(RoutingGpu, ChoosesAndSortsAsTheCpu) {
  EXPECT_TRUE(same_bits(device.experts.to(at::kCPU), host.experts));
  EXPECT_TRUE(same_bits(device.rows.to(at::kCPU), host.rows));
  EXPECT_TRUE(same_bits(device.tokens.to(at::kCPU), host.tokens));
  EXPECT_EQ(device.ends.scalar_type(), at::kInt);
  EXPECT_TRUE(same_bits(device.ends.to(at::kCPU, at::kLong), host.ends));
  EXPECT_LT(gpu_error(device.weights, host.weights), tolerance(dtype));
  EXPECT_TRUE(same_bits(device.weights.to(dtype).to(at::kFloat), device.weights));
  const Routing again = route(logits.device, shape.choices, shape.normalise);
  EXPECT_TRUE(same_bits(again.rows, device.rows) && same_bits(again.weights, device.weights));
}

TEST_P(RoutingGpu, RowsToTheExpertsAndBack) {
  for (const int64_t width : {int64_t{60}, int64_t{61}, int64_t{2048}}) {
    if (tokens * shape.choices > 20000 && width == 2048) continue;  // minutes of the CPU
    const Both x = random_both({tokens, width}, 2, dtype);
    EXPECT_TRUE(same_bits(gather_rows(x.device, device.tokens).to(at::kCPU, at::kFloat),
                          gather_rows(x.host, host.tokens)));
    const Both rows = random_both({tokens * shape.choices, width}, 3, dtype);
    const at::Tensor weights = device.weights.to(at::kCPU), none;
    for (const bool weighted : {false, true}) {
      for (const bool based : {false, true}) {
        const at::Tensor y = at::empty_like(x.device), expected = at::empty_like(x.host);
        combine_rows(rows.device, device, weighted ? device.weights : none, based ? x.device : none,
                     y);
        combine_rows(rows.host, host, weighted ? weights : none, based ? x.host : none, expected);
        EXPECT_LT(gpu_error(y, expected), tolerance(dtype));
      }
    }
  }
  EXPECT_TRUE(same_bits(row_weights(device).index_select(0, device.rows.flatten()),
                        device.weights.flatten()));
}

TEST_P(RoutingGpu, Backward) {
  const Both dweight = random_both({tokens * shape.choices}, 4, at::kFloat);
  const at::Tensor d = router_backward(logits.device, device, dweight.device, shape.normalise);
  EXPECT_EQ(d.scalar_type(), dtype);
  EXPECT_LT(gpu_error(d, router_backward(logits.host, host, dweight.host, shape.normalise)),
            dtype == at::kFloat ? 3e-5 : 4e-3);
  EXPECT_TRUE(
      same_bits(router_backward(logits.device, device, dweight.device, shape.normalise), d));
}

TEST_P(RoutingGpu, LoadAndBackwardAtEveryProbability) {
  const int64_t counted = tokens - tokens / 3;
  at::Tensor sums = at::zeros({2, shape.experts}, at::kDouble), found = sums.to(at::kCUDA);
  add_router_load(logits.host, host, counted, sums.select(0, 0), sums.select(0, 1));
  add_router_load(logits.device, device, counted, found.select(0, 0), found.select(0, 1));
  EXPECT_TRUE(same_bits(found.select(0, 0).to(at::kCPU), sums.select(0, 0)));
  EXPECT_LT(gpu_error(found.select(0, 1), sums.select(0, 1)), 1e-5);
  const Both dweight = random_both({tokens * shape.choices}, 4, at::kFloat);
  const Both every = random_both({shape.experts}, 5, at::kFloat);
  const auto backward = [&] {
    return router_backward(logits.device, device, dweight.device, shape.normalise,
                           {every.device, counted});
  };
  EXPECT_LT(gpu_error(backward(), router_backward(logits.host, host, dweight.host, shape.normalise,
                                                  {every.host, counted})),
            dtype == at::kFloat ? 3e-5 : 4e-3);
  EXPECT_TRUE(same_bits(backward(), backward()));
}

INSTANTIATE_TEST_SUITE_P(Shapes, RoutingGpu,
                         Combine(Values(at::kFloat, at::kBFloat16), Values(1, 127, 4097, 40000),
                                 Values(RouterCase{128, 8, true}, RouterCase{5, 3, true},
                                        RouterCase{5, 3, false}, RouterCase{512, 16, true},
                                        RouterCase{60, 4, false})));

// Whatever the logits, every choice is an expert, and none is chosen twice.
TEST(RoutingGpu, NaNsChooseExperts) {
  at::Tensor logits = random_tensor({200, 40}, 1);
  logits.masked_fill_(random_tensor({200, 40}, 2).gt(0.5), NAN);
  logits.narrow(0, 0, 10).fill_(NAN);
  const Routing r = route(logits.to(at::kCUDA), 8, true);
  const at::Tensor experts = r.experts.to(at::kCPU, at::kLong);
  EXPECT_TRUE(experts.ge(0).all().item<bool>() && experts.lt(40).all().item<bool>());
  const at::Tensor sorted = std::get<0>(experts.sort(1));
  EXPECT_TRUE(sorted.narrow(1, 1, 7).gt(sorted.narrow(1, 0, 7)).all().item<bool>());
}

}  // namespace
}  // namespace trireme::ops
