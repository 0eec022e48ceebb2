// Attention's CUDA kernels against softmax(q k^T) v.
#include <ATen/ops/bmm.h>
#include <ATen/ops/softmax.h>
#include <gtest/gtest.h>

#include "attention/block.h"
#include "attention/gpu_testing.h"

namespace trireme::attention {
namespace {

using ops::relative_error;

class Kernels : public testing::TestWithParam<Case> {};

// As the engine calls it: one document by the dense kernels, several by those for packed ones.
TEST_P(Kernels, ForwardAndGradients) {
  const Case c = GetParam();
  const Inputs in = make_inputs(c);
  LocalAttention attention(c.starts(), at::kCUDA, c.scale());
  const Result found = pass(attention, in);
  for (const double error : sampled_errors(c, in, found)) EXPECT_LT(error, kTolerance);
  EXPECT_EQ(found.forward.lse.sizes(), at::IntArrayRef({c.heads, c.tokens()}));
}

INSTANTIATE_TEST_SUITE_P(Attention, Kernels,
                         testing::Values(Case{1, 17, 4, 2, 64}, Case{1, 127, 7, 1, 128},
                                         Case{1, 1000, 16, 8, 64}, Case{1, 4097, 32, 4, 128},
                                         Case{50, 61, 8, 2, 128}, Case{3, 2049, 8, 8, 64},
                                         Case{1, 132000, 128, 8, 128},
                                         Case{4, 33000, 128, 8, 128}));

// Every query sees every key.
TEST(Kernels, FullBlocksAreRectangles) {
  const at::Tensor q = random(300, 8, 64), k = random(500, 2, 64), v = random(500, 2, 64);
  const AttentionOutput out = block_forward(q, k, v, Mask::kFull, 0.125);
  const at::Tensor p =
      at::softmax(at::bmm(by_head(q, 8), by_head(k, 8).transpose(1, 2)) * 0.125, 2);
  EXPECT_LT(relative_error(out.out.transpose(0, 1).to(at::kFloat), at::bmm(p, by_head(v, 8))),
            kTolerance);
}

}  // namespace
}  // namespace trireme::attention
