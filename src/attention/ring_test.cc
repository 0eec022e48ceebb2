#include "attention/ring.h"

#include <gtest/gtest.h>

#include <map>

#include "attention/testing.h"
#include "ops/testing.h"

namespace trireme::attention {
namespace {

using config::Axis;
using config::RingOrder;
using ops::random_tensor;
using ops::relative_error;

constexpr double kScale = 0.125;
constexpr Axis kRing[] = {Axis::kRing};

Inputs random_inputs(int64_t rows, int64_t heads, int64_t kv_heads, int64_t dim) {
  return {random_tensor({rows, heads, dim}, 1), random_tensor({rows, kv_heads, dim}, 2),
          random_tensor({rows, kv_heads, dim}, 3), random_tensor({rows, heads, dim}, 4)};
}

Result ring(const std::vector<int64_t>& starts, int64_t ranks, RingOrder order, const Inputs& in) {
  return attention::ring(starts, ranks, order, in, kScale);
}

const std::map<std::string, std::vector<int64_t>> kBatches = {
    {"one", {0, 211}},
    {"packed", {0, 1, 17, 18, 40, 41, 43, 140, 141, 211}},
    {"short", {0, 1, 2, 3}},  // fewer rows than ranks
};

class Ring : public testing::TestWithParam<std::tuple<int64_t, std::string, RingOrder>> {};

INSTANTIATE_TEST_SUITE_P(Attention, Ring,
                         testing::Combine(testing::Values(1, 2, 3, 4, 8),
                                          testing::Values("one", "packed", "short"),
                                          testing::Values(RingOrder::kContiguous,
                                                          RingOrder::kZigzag,
                                                          RingOrder::kBalanced)));

TEST_P(Ring, EqualsTheSingleRank) {
  const auto& [ranks, batch, order] = GetParam();
  const std::vector<int64_t>& starts = kBatches.at(batch);
  const Inputs in = random_inputs(starts.back(), 6, 2, 16);
  LocalAttention single(starts, at::kCPU, kScale);
  const Result one = pass(single, in), many = ring(starts, ranks, order, in);
  EXPECT_LT(relative_error(many.forward.out, one.forward.out), 1e-6);
  EXPECT_LT(relative_error(many.gradients.dv, one.gradients.dv), 1e-5);
  if (batch == "short") return;  // softmax of one key: nothing but rounding is left of dq and dk
  EXPECT_LT(relative_error(many.gradients.dq, one.gradients.dq), 1e-5);
  EXPECT_LT(relative_error(many.gradients.dk, one.gradients.dk), 1e-5);
}

TEST(RingAttention, GivesTheSameBitsAgain) {
  const std::vector<int64_t>& starts = kBatches.at("packed");
  const Inputs in = random_inputs(starts.back(), 4, 2, 16);
  const Result a = ring(starts, 4, RingOrder::kBalanced, in),
               b = ring(starts, 4, RingOrder::kBalanced, in);
  EXPECT_TRUE(a.forward.out.equal(b.forward.out));
  EXPECT_TRUE(a.gradients.dq.equal(b.gradients.dq));
  EXPECT_TRUE(a.gradients.dk.equal(b.gradients.dk));
}

// Keys and values pass every other rank once each way; their gradients, in fp32, go all the way
// home.
TEST(RingAttention, SendsKeysOnceAWayAndTheirGradientsHome) {
  constexpr int64_t kRanks = 4, kRows = 16, kKeys = 2, kDim = 8;
  const std::vector<int64_t> starts = {0, kRanks * kRows};
  const std::vector<layout::Rows> rows = layout::deal(starts, kRanks, RingOrder::kZigzag).rows;
  dist::run_ranks({.ring = kRanks}, kRing, [&](const dist::Mesh& mesh) {
    const dist::Group& group = mesh.group(Axis::kRing);
    RingAttention attention(starts, rows, group, at::kCPU, kScale);
    const Inputs in = random_inputs(kRows, 4, kKeys, kDim).of([](const at::Tensor& x) {
      return x.to(at::kBFloat16);
    });
    const AttentionOutput out = attention.forward(in.q, in.k, in.v);
    constexpr int64_t kNumbers = 2 * kRows * kKeys * kDim;
    EXPECT_EQ(group.volume(layout::Collective::kRingShift).calls, kRanks - 1);
    EXPECT_EQ(group.volume(layout::Collective::kRingShift).bytes, (kRanks - 1) * kNumbers * 2);
    attention.backward(in.dout, in.q, in.k, in.v, out);
    EXPECT_EQ(group.volume(layout::Collective::kRingShift).calls, 2 * (kRanks - 1) + kRanks);
    EXPECT_EQ(group.volume(layout::Collective::kRingShift).bytes,
              2 * (kRanks - 1) * kNumbers * 2 + kRanks * kNumbers * 4);
  });
}

// One document in double.
Result exact(const Inputs& in) {
  const Inputs x = in.of([](const at::Tensor& tensor) { return tensor.to(at::kDouble); });
  LocalAttention attention({0, x.q.size(0)}, at::kCPU, kScale);
  return pass(attention, x);
}

std::array<double, 4> errors(const Result& found, const Result& expected) {
  return {relative_error(found.forward.out, expected.forward.out),
          relative_error(found.gradients.dq, expected.gradients.dq),
          relative_error(found.gradients.dk, expected.gradients.dk),
          relative_error(found.gradients.dv, expected.gradients.dv)};
}

TEST(RingAttention, ErrorsInBfloat16DoNotGrowWithTheRing) {
  const Inputs in =
      random_inputs(1024, 4, 2, 64).of([](const at::Tensor& x) { return x.to(at::kBFloat16); });
  const std::vector<int64_t> starts = {0, in.q.size(0)};
  const Result reference = exact(in);
  std::array<double, 4> one{};
  for (const int64_t ranks : {1, 2, 4, 8}) {
    const auto found = errors(ring(starts, ranks, RingOrder::kZigzag, in), reference);
    if (ranks == 1) one = found;
    fmt::print("bf16 against fp64, ring of {}: out {:.3e}, dq {:.3e}, dk {:.3e}, dv {:.3e}\n",
               ranks, found[0], found[1], found[2], found[3]);
    for (size_t i = 0; i < one.size(); ++i) EXPECT_LE(found[i], 1.2 * one[i]) << ranks << " " << i;
  }
}

}  // namespace
}  // namespace trireme::attention
