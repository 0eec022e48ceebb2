#include "ops/adamw.h"

#include <ATen/Parallel.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ops/testing.h"

namespace trireme::ops {
namespace {

// torch.optim.AdamW's formulas in double, one step.
struct Reference {
  at::Tensor param, m, v;
  void step(const at::Tensor& grad, const AdamWStep& s) {
    param = param * (1 - s.learning_rate * s.weight_decay);
    m = m * s.beta1 + grad * (1 - s.beta1);
    v = v * s.beta2 + grad.square() * (1 - s.beta2);
    const double t = static_cast<double>(s.step);
    const at::Tensor denominator = v.sqrt() / std::sqrt(1 - std::pow(s.beta2, t)) + s.epsilon;
    param = param - (m / denominator) * (s.learning_rate / (1 - std::pow(s.beta1, t)));
  }
};

TEST(AdamW, FollowsTheFormulasOverSteps) {
  const int64_t n = 70001;  // more than one task, and a tail that no vector width divides
  at::Tensor param = random_tensor({n}, 1), m = at::zeros({n}), v = at::zeros({n});
  Reference reference{param.to(at::kDouble), m.to(at::kDouble), v.to(at::kDouble)};
  for (int64_t step = 1; step <= 5; ++step) {
    const AdamWStep s{
        .learning_rate = 1e-2, .beta1 = 0.8, .beta2 = 0.95, .weight_decay = 0.1, .step = step};
    const at::Tensor grad = random_tensor({n}, 10 + step);
    adamw_(param, grad * 4, {m, v}, s, at::ones({}) * 4);
    reference.step(grad.to(at::kDouble), s);
  }
  EXPECT_LT(relative_error(param, reference.param), 1e-6);
  EXPECT_LT(relative_error(v, reference.v), 1e-6);
}

TEST(AdamW, WritesTheRoundedWeight) {
  at::Tensor param = random_tensor({101}, 1), m = at::zeros({101}), v = at::zeros({101});
  at::Tensor weight = at::zeros({101}, at::kBFloat16);
  adamw_(param, random_tensor({101}, 2), {m, v}, {.learning_rate = 0.1}, at::ones({}), weight);
  EXPECT_TRUE(weight.equal(param.to(at::kBFloat16)));
}

TEST(SumOfSquares, SameBitsForAnyNumberOfThreads) {
  const at::Tensor x = random_tensor({1'000'003}, 1);
  const double expected = x.to(at::kDouble).square().sum().item<double>();
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const double alone = sum_of_squares(x).item<double>();
  at::set_num_threads(2);
  EXPECT_EQ(sum_of_squares(x).item<double>(), alone);
  at::set_num_threads(threads);
  EXPECT_NEAR(alone, expected, 1e-10 * expected);
}

}  // namespace
}  // namespace trireme::ops
