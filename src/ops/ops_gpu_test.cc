// Every CUDA kernel against its CPU twin, in fp32 and bf16, at sizes that no vector width divides
// and at sizes of real models; and each reduction twice, bit for bit.
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include "ops/cross_entropy.h"
#include "ops/dropout.h"
#include "ops/gpu_testing.h"
#include "ops/heads.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/swiglu.h"

namespace trireme::ops {
namespace {

using testing::Combine;
using testing::Values;

const auto kDtypes = Values(at::kFloat, at::kBFloat16);
const auto kTokens = Values(1, 127, 4097);

class RmsNormGpu : public testing::TestWithParam<Rows> {};

TEST_P(RmsNormGpu, Forward) {
  const auto [dtype, rows, width] = GetParam();
  const Both x = random_both({rows, width}, 1, dtype), w = random_both({width}, 2, dtype);
  EXPECT_LT(gpu_error(rms_norm(x.device, w.device, 1e-6), rms_norm(x.host, w.host, 1e-6)),
            tolerance(dtype));
}

TEST_P(RmsNormGpu, BackwardAddsAndRepeats) {
  const auto [dtype, rows, width] = GetParam();
  const Both x = random_both({rows, width}, 1, dtype), w = random_both({width}, 2, dtype);
  const Both dy = random_both({rows, width}, 3, dtype),
             residual = random_both({rows, width}, 4, dtype);
  const Both start = random_both({width}, 5, at::kFloat);
  Both dx = residual.clone(), dw = start.clone();
  rms_norm_backward(dy.device, x.device, w.device, 1e-6, dx.device, dw.device);
  rms_norm_backward(dy.host, x.host, w.host, 1e-6, dx.host, dw.host);
  EXPECT_LT(gpu_error(dx.device, dx.host), tolerance(dtype));
  EXPECT_LT(gpu_error(dw.device, dw.host), 2e-5);

  at::Tensor dx_again = residual.device.clone(), dw_again = start.device.clone(), frozen;
  rms_norm_backward(dy.device, x.device, w.device, 1e-6, dx_again, dw_again);
  EXPECT_TRUE(same_bits(dx_again, dx.device) && same_bits(dw_again, dw.device));
  dx_again.copy_(residual.device);
  rms_norm_backward(dy.device, x.device, w.device, 1e-6, dx_again, frozen);
  EXPECT_TRUE(same_bits(dx_again, dx.device));
}

INSTANTIATE_TEST_SUITE_P(Shapes, RmsNormGpu,
                         Combine(kDtypes, kTokens, Values(60, 61, 2048, 4096, 12288)));

TEST(RmsNormGpu, StridedAndMisalignedRows) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Both wide = random_both({127, 4160}, 1, dtype), w = random_both({2048}, 2, dtype);
    for (const int64_t first : {int64_t{0}, int64_t{64}, int64_t{3}}) {
      const Both x = wide.narrow(1, first, 2048);
      EXPECT_LT(gpu_error(rms_norm(x.device, w.device, 1e-6), rms_norm(x.host, w.host, 1e-6)),
                tolerance(dtype));
    }
  }
}

struct HeadCase {
  int64_t heads, kv_heads, dim;
  bool normed;
};

class HeadsGpu : public testing::TestWithParam<std::tuple<at::ScalarType, int64_t, HeadCase>> {
 protected:
  void SetUp() override {
    std::tie(dtype, tokens, shape) = GetParam();
    columns = (shape.heads + 2 * shape.kv_heads) * shape.dim;
    qkv = random_both({tokens, columns}, 1, dtype);
    const at::Tensor angles = random_tensor({tokens, shape.dim / 2}, 2) * 3;
    cos = Both(angles.cos(), at::kFloat);
    sin = Both(angles.sin(), at::kFloat);
    if (!shape.normed) return;
    q_norm = random_both({shape.dim}, 3, dtype);
    k_norm = random_both({shape.dim}, 4, dtype);
  }
  HeadNorms device_norms() const { return {q_norm.device, k_norm.device, 1e-6}; }
  HeadNorms host_norms() const { return {q_norm.host, k_norm.host, 1e-6}; }
  // A gradient [S,N,D] whose heads are outermost in memory, or contiguous.
  Both grad(int64_t heads, uint64_t seed, bool transposed) const {
    if (!transposed) return random_both({tokens, heads, shape.dim}, seed, dtype);
    Both x = random_both({heads, tokens, shape.dim}, seed, dtype);
    x.device = x.device.transpose(0, 1);
    x.host = x.host.transpose(0, 1);
    return x;
  }

  at::ScalarType dtype;
  int64_t tokens = 0, columns = 0;
  HeadCase shape;
  Both qkv, cos, sin, q_norm, k_norm;
};

TEST_P(HeadsGpu, Forward) {
  const at::Tensor before = qkv.device.clone();
  const RotatedHeads out =
      rotate_heads(qkv.device, shape.heads, shape.kv_heads, device_norms(), cos.device, sin.device);
  const RotatedHeads expected =
      rotate_heads(qkv.host, shape.heads, shape.kv_heads, host_norms(), cos.host, sin.host);
  EXPECT_TRUE(same_bits(qkv.device, before));
  EXPECT_LT(gpu_error(out.q, expected.q), tolerance(dtype));
  EXPECT_LT(gpu_error(out.k, expected.k), tolerance(dtype));
}

TEST_P(HeadsGpu, BackwardAddsAndRepeats) {
  for (const bool transposed : {false, true}) {
    const Both dq = grad(shape.heads, 5, transposed), dk = grad(shape.kv_heads, 6, transposed),
               dv = grad(shape.kv_heads, 7, transposed);
    Both dqkv = random_both({tokens, columns}, 8, dtype), dq_norm, dk_norm;
    if (shape.normed) {
      dq_norm = random_both({shape.dim}, 9, at::kFloat);
      dk_norm = random_both({shape.dim}, 10, at::kFloat);
    }
    Both dq_norm_start = dq_norm, again = dqkv.clone();
    if (shape.normed) dq_norm_start = dq_norm.clone();
    rotate_heads_backward(dq.device, dk.device, dv.device, qkv.device, device_norms(), cos.device,
                          sin.device, dqkv.device, dq_norm.device, dk_norm.device);
    rotate_heads_backward(dq.host, dk.host, dv.host, qkv.host, host_norms(), cos.host, sin.host,
                          dqkv.host, dq_norm.host, dk_norm.host);
    EXPECT_LT(gpu_error(dqkv.device, dqkv.host), tolerance(dtype));
    if (!shape.normed) continue;
    EXPECT_LT(gpu_error(dq_norm.device, dq_norm.host), 3e-5);
    EXPECT_LT(gpu_error(dk_norm.device, dk_norm.host), 3e-5);
    at::Tensor frozen;
    rotate_heads_backward(dq.device, dk.device, dv.device, qkv.device, device_norms(), cos.device,
                          sin.device, again.device, dq_norm_start.device, frozen);
    EXPECT_TRUE(same_bits(again.device, dqkv.device));
    EXPECT_TRUE(same_bits(dq_norm_start.device, dq_norm.device));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, HeadsGpu,
                         Combine(kDtypes, kTokens,
                                 Values(HeadCase{32, 4, 128, true}, HeadCase{32, 4, 64, false},
                                        HeadCase{7, 1, 128, false}, HeadCase{7, 1, 22, true},
                                        HeadCase{5, 5, 12, true}, HeadCase{4, 2, 24, true},
                                        HeadCase{4, 2, 20, false}, HeadCase{4, 1, 256, true})));

class SwigluGpu : public testing::TestWithParam<Rows> {};

TEST_P(SwigluGpu, ForwardAndBackward) {
  const auto [dtype, rows, width] = GetParam();
  const Both x = random_both({rows, 2 * width}, 1, dtype),
             da = random_both({rows, width}, 2, dtype);
  const at::Tensor expected = swiglu(x.host);
  EXPECT_LT(gpu_error(swiglu(x.device), expected), tolerance(dtype));
  at::Tensor wide = at::zeros({rows, width + 16}, x.device.options());
  swiglu(x.device, wide.narrow(1, 8, width));
  EXPECT_TRUE(same_bits(wide.narrow(1, 8, width), swiglu(x.device)));
  EXPECT_EQ(wide.narrow(1, width + 8, 8).norm().item<double>(), 0.0);
  at::Tensor a;
  const at::Tensor dx = swiglu_backward(da.device, x.device, &a);
  EXPECT_TRUE(same_bits(a, swiglu(x.device)));
  EXPECT_LT(gpu_error(dx, swiglu_backward(da.host, x.host)), tolerance(dtype));
}

TEST_P(SwigluGpu, RowWeights) {
  const auto [dtype, rows, width] = GetParam();
  const Both x = random_both({rows, 2 * width}, 1, dtype),
             da = random_both({rows, width}, 2, dtype);
  const Both weight = random_both({rows}, 3, at::kFloat);
  const RowWeights host{weight.host, at::empty({rows})};
  const RowWeights device{weight.device, at::empty({rows}, weight.device.options())};
  at::Tensor a;
  const at::Tensor dx = swiglu_backward(da.device, x.device, &a, &device);
  EXPECT_LT(gpu_error(dx, swiglu_backward(da.host, x.host, nullptr, &host)), tolerance(dtype));
  // Over the rounded activations: what the forward multiplied.
  const at::Tensor expected = (da.host.to(at::kDouble) * a.to(at::kCPU).to(at::kDouble)).sum(1);
  EXPECT_LT(gpu_error(device.dweight, expected), 1e-5);
  const RowWeights again{weight.device, at::empty({rows}, weight.device.options())};
  swiglu_backward(da.device, x.device, nullptr, &again);
  EXPECT_TRUE(same_bits(again.dweight, device.dweight));
}

INSTANTIATE_TEST_SUITE_P(Shapes, SwigluGpu, Combine(kDtypes, kTokens, Values(61, 84, 768, 12288)));

struct CrossEntropyCase {
  int64_t rows, width;
};
class CrossEntropyGpu
    : public testing::TestWithParam<std::tuple<at::ScalarType, CrossEntropyCase>> {};

TEST_P(CrossEntropyGpu, LossAndGradientInPlace) {
  const auto [dtype, shape] = GetParam();
  const auto [rows, width] = shape;
  const Both logits = Both(random_tensor({rows, width}, 1) * 4, at::kFloat);
  const at::Tensor targets = (at::arange(rows, at::kLong) * 7919 + width - 1).remainder(width);
  const at::Tensor device_targets = targets.to(at::kCUDA);
  const at::Tensor reference = at::log_softmax(logits.host.to(at::kDouble), 1);
  const double loss = -reference.gather(1, targets.unsqueeze(1)).sum().item<double>();
  const at::Tensor only_loss = cross_entropy(logits.device, device_targets);
  EXPECT_NEAR(only_loss.item<double>(), loss, 1e-5 * loss);

  at::Tensor storage = logits.device.clone(), sum = at::zeros({}, storage.options()) + 2;
  const at::Tensor grad = cross_entropy_backward_(storage, device_targets, 0.125, dtype, sum);
  EXPECT_NEAR(sum.item<double>(), loss + 2, 1e-5 * loss);
  EXPECT_EQ(grad.scalar_type(), dtype);
  EXPECT_EQ(grad.const_data_ptr(), storage.const_data_ptr());
  EXPECT_EQ(grad.stride(0), dtype == at::kFloat ? width : 2 * width);
  at::Tensor expected = reference.exp();
  expected.scatter_add_(1, targets.unsqueeze(1), at::ones({rows, 1}, at::kDouble).neg());
  EXPECT_LT(gpu_error(grad, expected * 0.125), tolerance(dtype));

  at::Tensor second = logits.device.clone(), again = at::zeros({}, storage.options()) + 2;
  EXPECT_TRUE(
      same_bits(cross_entropy_backward_(second, device_targets, 0.125, dtype, again), grad));
  EXPECT_TRUE(same_bits(again, sum));
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, CrossEntropyGpu,
    Combine(kDtypes, Values(CrossEntropyCase{1, 1001}, CrossEntropyCase{127, 1001},
                            CrossEntropyCase{4097, 1001}, CrossEntropyCase{1, 151936},
                            CrossEntropyCase{127, 151936}, CrossEntropyCase{3, 151935})));

TEST(CrossEntropyGpu, ExtremeLogitsStayFinite) {
  at::Tensor logits = at::zeros({2, 5000}) - 1e4;
  logits.select(0, 0).select(0, 17).fill_(1e4);
  const at::Tensor targets = at::zeros({2}, at::kLong) + 17;
  at::Tensor device = logits.to(at::kCUDA), loss = at::zeros({}, device.options());
  cross_entropy_backward_(device, targets.to(at::kCUDA), 1.0, at::kFloat, loss);
  EXPECT_NEAR(loss.item<double>(), std::log(5000.0), 1e-4);
  EXPECT_TRUE(device.isfinite().all().item<bool>());
}

class DropoutGpu : public testing::TestWithParam<Rows> {};

TEST_P(DropoutGpu, TheSameMaskAsTheCpu) {
  const auto [dtype, rows, width] = GetParam();
  const Both x = random_both({rows, width}, 1, dtype), du = random_both({rows, width}, 2, dtype);
  const uint64_t seed = 0x123456789abcdef0;
  const at::Tensor y = dropout(x.device, 0.1, seed), expected = dropout(x.host, 0.1, seed);
  EXPECT_TRUE(same_bits(y.ne(0).to(at::kCPU), expected.to(dtype).ne(0)));
  EXPECT_LT(gpu_error(y, expected), tolerance(dtype));
  Both dx = x.clone();
  dropout_add_(dx.device, du.device, 0.1, seed);
  dropout_add_(dx.host, du.host, 0.1, seed);
  EXPECT_LT(gpu_error(dx.device, dx.host), tolerance(dtype));
}

INSTANTIATE_TEST_SUITE_P(Shapes, DropoutGpu, Combine(kDtypes, kTokens, Values(61, 2048)));

// One token has no gradient; dy stays, and so does its row.
TEST(EmbeddingGpu, GradientWithoutAToken) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Both dy = random_both({300, 61}, 1, dtype), start = random_both({7, 61}, 2, at::kFloat);
    const at::Tensor tokens = at::arange(300, at::kLong).remainder(7);
    const at::Tensor before = dy.device.clone();
    Both grad = start.clone();
    accumulate_embedding_grad(grad.host, dy.host, tokens, 3);
    accumulate_embedding_grad(grad.device, dy.device, tokens.to(at::kCUDA), 3);
    EXPECT_LT(gpu_error(grad.device, grad.host), 2e-6);
    EXPECT_TRUE(same_bits(grad.device.select(0, 3), start.device.select(0, 3)));
    EXPECT_TRUE(same_bits(dy.device, before));
  }
}

// Element counts beyond 2^31: the last rows must be as right as the first.
TEST(LargeGpu, IndicesAre64Bits) {
  const int64_t width = 4096, rows = (int64_t{1} << 31) / width + 5;
  const auto options = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);
  at::Tensor x = at::empty({rows, width}, options);
  x.fill_(0.5);
  const Both last = random_both({3, width}, 1, at::kBFloat16),
             w = random_both({width}, 2, at::kBFloat16);
  x.narrow(0, rows - 3, 3).copy_(last.device);
  {
    const at::Tensor y = rms_norm(x, w.device, 1e-6);
    EXPECT_LT(gpu_error(y.narrow(0, rows - 3, 3), rms_norm(last.host, w.host, 1e-6)), 4e-3);
  }
  {
    const at::Tensor y = swiglu(x);
    EXPECT_LT(gpu_error(y.narrow(0, rows - 3, 3), swiglu(last.host)), 4e-3);
  }
  const at::Tensor y = dropout(x, 0.25, 9);
  EXPECT_NEAR(y.narrow(0, rows - 1000, 1000).ne(0).to(at::kFloat).mean().item<double>(), 0.75,
              2e-3);
}

}  // namespace
}  // namespace trireme::ops
