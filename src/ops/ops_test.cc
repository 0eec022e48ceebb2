#include <ATen/ops/empty.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "ops/cross_entropy.h"
#include "ops/grouped.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/simd.h"
#include "ops/swiglu.h"
#include "ops/testing.h"
#include "ops/words.h"

namespace trireme::ops {
namespace {

constexpr double kTolerance = 2e-6;  // fp32 sums of up to a few hundred terms
constexpr double kGradient =
    2e-4;  // of a directional derivative, fp32 kernel against double differences

at::Tensor reference_norm(const at::Tensor& x, const at::Tensor& w, double eps) {
  return x * (x.square().mean(1, true) + eps).rsqrt() * w;
}

TEST(FastExp, MatchesTheLibraryOverItsRange) {
  for (float x = -86.9f; x < 88; x += 0.0137f) {
    EXPECT_NEAR(fast_exp(x) / std::exp(static_cast<double>(x)), 1.0, 3e-7) << x;
  }
  EXPECT_EQ(fast_exp(-1e30f), fast_exp(-87.0f));
}

TEST(RmsNorm, ForwardOnOddAndStridedRows) {
  const at::Tensor wide = random_tensor({127, 250}, 1), x = wide.narrow(1, 3, 61);
  const at::Tensor w = random_tensor({61}, 2);
  EXPECT_LT(relative_error(rms_norm(x, w, 1e-5),
                           reference_norm(x.to(at::kDouble), w.to(at::kDouble), 1e-5)),
            kTolerance);
}

TEST(RmsNorm, BackwardAddsBothGradients) {
  const at::Tensor x = random_tensor({127, 61}, 1), w = random_tensor({61}, 2);
  const at::Tensor dy = random_tensor({127, 61}, 3), residual = random_tensor({127, 61}, 4);
  at::Tensor dx = residual.clone(), dw = at::zeros({61});
  rms_norm_backward(dy, x, w, 1e-5, dx, dw);
  const at::Tensor along_x = random_tensor({127, 61}, 5), along_w = random_tensor({61}, 6);
  const double expected_x = directional_derivative(
      [&](const at::Tensor& v) { return reference_norm(v, w.to(at::kDouble), 1e-5); }, x, dy,
      along_x);
  EXPECT_NEAR(inner(dx - residual, along_x), expected_x, kGradient * std::abs(expected_x) + 1e-4);
  const double expected_w = directional_derivative(
      [&](const at::Tensor& v) { return reference_norm(x.to(at::kDouble), v, 1e-5); }, w, dy,
      along_w);
  EXPECT_NEAR(inner(dw, along_w), expected_w, kGradient * std::abs(expected_w) + 1e-4);
}

TEST(RmsNorm, FrozenWeightChangesNoBitOfTheRest) {
  const at::Tensor x = random_tensor({127, 61}, 1), w = random_tensor({61}, 2);
  const at::Tensor dy = random_tensor({127, 61}, 3), residual = random_tensor({127, 61}, 4);
  at::Tensor dx = residual.clone(), frozen_dx = residual.clone(), dw = at::zeros({61}), none;
  rms_norm_backward(dy, x, w, 1e-5, dx, dw);
  rms_norm_backward(dy, x, w, 1e-5, frozen_dx, none);
  EXPECT_TRUE(frozen_dx.equal(dx));
}

TEST(Swiglu, ForwardAndBackward) {
  const auto reference = [](const at::Tensor& x) {
    const at::Tensor gate = x.narrow(1, 0, 37), up = x.narrow(1, 37, 37);
    return gate * at::sigmoid(gate) * up;
  };
  const at::Tensor x = random_tensor({33, 74}, 1) * 3, da = random_tensor({33, 37}, 2);
  EXPECT_LT(relative_error(swiglu(x), reference(x.to(at::kDouble))), kTolerance);
  at::Tensor again;
  const at::Tensor dx = swiglu_backward(da, x, &again);
  EXPECT_LT(relative_error(again, reference(x.to(at::kDouble))), kTolerance);
  const at::Tensor along = random_tensor({33, 74}, 3);
  const double expected = directional_derivative(reference, x, da, along);
  EXPECT_NEAR(inner(dx, along), expected, kGradient * std::abs(expected) + 1e-4);
}

TEST(Swiglu, IntoASliceAndWithRowWeights) {
  const at::Tensor x = random_tensor({33, 74}, 1), da = random_tensor({33, 37}, 2);
  at::Tensor wide = at::zeros({33, 50});
  swiglu(x, wide.narrow(1, 5, 37));
  EXPECT_TRUE(wide.narrow(1, 5, 37).equal(swiglu(x)));
  EXPECT_EQ(wide.narrow(1, 42, 8).norm().item<double>(), 0.0);

  const RowWeights rows{random_tensor({33}, 3), at::empty({33})};
  at::Tensor a;
  const at::Tensor dx = swiglu_backward(da, x, &a, &rows);
  EXPECT_LT(relative_error(a, swiglu(x)), kTolerance);
  EXPECT_LT(relative_error(dx, swiglu_backward(da * rows.weight.unsqueeze(1), x)), kTolerance);
  EXPECT_LT(relative_error(rows.dweight, (da * a).sum(1)), kTolerance);
}

TEST(CrossEntropy, LossAndGradient) {
  at::Tensor logits = random_tensor({7, 1001}, 1) * 5;
  const at::Tensor targets = at::tensor({0, 1000, 5, 5, 77, 500, 3}, at::kLong);
  const at::Tensor reference = at::log_softmax(logits.to(at::kDouble), 1);
  const double loss = -reference.gather(1, targets.unsqueeze(1)).sum().item<double>();
  EXPECT_NEAR(cross_entropy(logits, targets).item<double>(), loss, 1e-5 * loss);
  at::Tensor expected = reference.exp();
  expected.scatter_add_(1, targets.unsqueeze(1), -at::zeros({7, 1}, at::kDouble).add(1));
  at::Tensor sum = at::zeros({}) + 1;
  const at::Tensor grad = cross_entropy_backward_(logits, targets, 0.25, at::kFloat, sum);
  EXPECT_NEAR(sum.item<double>(), loss + 1, 1e-5 * loss);
  EXPECT_LT(relative_error(grad, expected * 0.25), 1e-5);
  EXPECT_EQ(grad.const_data_ptr(), logits.const_data_ptr());
}

TEST(Embedding, EqualTokensAdd) {
  const at::Tensor dy = random_tensor({4, 70}, 1);
  const at::Tensor tokens = at::tensor({2, 0, 2, 2}, at::kLong);
  at::Tensor grad = at::zeros({5, 70});
  accumulate_embedding_grad(grad, dy, tokens);
  EXPECT_LT(relative_error(grad.select(0, 2), dy.select(0, 0) + dy.select(0, 2) + dy.select(0, 3)),
            1e-6);
  EXPECT_EQ(grad.select(0, 1).norm().item<double>(), 0.0);
}

TEST(Embedding, ATokenWithoutAGradient) {
  const at::Tensor dy = random_tensor({4, 70}, 1);
  const at::Tensor tokens = at::tensor({2, 0, 3, 2}, at::kLong);
  at::Tensor some = random_tensor({5, 70}, 2), all = some.clone();
  const at::Tensor before = some.clone();
  accumulate_embedding_grad(some, dy, tokens, 2);
  accumulate_embedding_grad(all, dy, tokens);
  EXPECT_TRUE(some.select(0, 2).equal(before.select(0, 2)));
  all.select(0, 2).copy_(before.select(0, 2));
  EXPECT_TRUE(some.equal(all));
}

TEST(Grouped, EmptyAndUnevenGroups) {
  const at::Tensor w = random_tensor({4, 9, 6}, 1), x = random_tensor({7, 6}, 2),
                   dy = random_tensor({7, 9}, 3);
  const at::Tensor ends = group_ends(at::tensor({2, 0, 5, 0}, at::kLong));
  const std::vector<int64_t> group = {0, 0, 2, 2, 2, 2, 2};
  const at::Tensor y = grouped_linear(x, w, ends), dx = grouped_linear_backward(dy, w, ends);
  at::Tensor dw = at::zeros({4, 9, 6}), expected = at::zeros({4, 9, 6});
  accumulate_grouped_weight_grad(dw, dy, x, ends);
  for (int64_t r = 0; r < 7; ++r) {
    const at::Tensor matrix = w.select(0, group[r]);
    EXPECT_LT(relative_error(y.select(0, r), matrix.mv(x.select(0, r))), kTolerance);
    EXPECT_LT(relative_error(dx.select(0, r), matrix.t().mv(dy.select(0, r))), kTolerance);
    expected.select(0, group[r]).add_(dy.select(0, r).outer(x.select(0, r)));
  }
  EXPECT_LT(relative_error(dw, expected), kTolerance);
}

// With rows of whole words and without, at offsets and strides of whole words and without, and
// repeated rows.
TEST(Words, CopiesOfStridedTensors) {
  const at::Tensor x = random_tensor({5, 3, 40}, 1);
  for (const auto& [first, width] : {std::pair(0, 40), {4, 16}, {4, 13}, {3, 16}, {0, 0}}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const at::Tensor from = x.to(dtype).narrow(2, first, width).transpose(0, 1);
      EXPECT_TRUE(packed(from).is_contiguous() && packed(from).equal(from))
          << first << " " << width;
      const at::Tensor wide = at::zeros({5, 3, 56}, from.options());
      const at::Tensor to = wide.narrow(2, 8, width).transpose(0, 1);
      copy(to, from);
      EXPECT_TRUE(to.equal(from)) << first << " " << width;
      EXPECT_EQ(wide.count_nonzero().item<int64_t>(), from.count_nonzero().item<int64_t>());
    }
  }
  const at::Tensor repeated = x.unsqueeze(1).expand({5, 2, 3, 40});
  EXPECT_TRUE(packed(repeated).equal(repeated));
  EXPECT_TRUE(packed(x).is_same(x));
}

// Pages of zeros that are only read take no memory.
TEST(LargeCpu, IndicesAre64Bits) {
  const int64_t width = 64, rows = (int64_t{1} << 31) / width + 5;
  at::Tensor x = at::zeros({rows, width});
  const at::Tensor last = random_tensor({3, width}, 1), w = random_tensor({width}, 2);
  x.narrow(0, rows - 3, 3).copy_(last);
  EXPECT_TRUE(rms_norm(x, w, 1e-6).narrow(0, rows - 3, 3).equal(rms_norm(last, w, 1e-6)));
  EXPECT_TRUE(swiglu(x).narrow(0, rows - 3, 3).equal(swiglu(last)));
}

}  // namespace
}  // namespace trireme::ops
