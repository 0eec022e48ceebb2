#include "attention/ring.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <gtest/gtest.h>

#include <map>

#include "attention/block.h"
#include "dist/testing.h"
#include "ops/testing.h"

namespace trireme::attention {
namespace {

using config::Span;
using layout::Order;
using ops::random_tensor;
using ops::relative_error;

constexpr double kScale = 0.125;
constexpr Span kRing[] = {Span::kRing};

struct Inputs {
  at::Tensor q, k, v, dout;

  Inputs(int64_t rows, int64_t heads, int64_t kv_heads, int64_t dim)
      : q(random_tensor({rows, heads, dim}, 1)),
        k(random_tensor({rows, kv_heads, dim}, 2)),
        v(random_tensor({rows, kv_heads, dim}, 3)),
        dout(random_tensor(q.sizes(), 4)) {}
  Inputs of(const std::function<at::Tensor(const at::Tensor&)>& change) const {
    Inputs changed = *this;
    for (at::Tensor* x : {&changed.q, &changed.k, &changed.v, &changed.dout}) *x = change(*x);
    return changed;
  }
};

struct Result {
  at::Tensor out;
  AttentionGradients gradients;
};

Result pass(Attention& attention, const Inputs& in) {
  const AttentionOutput out = attention.forward(in.q, in.k, in.v);
  return {out.out, attention.backward(in.dout, in.q, in.k, in.v, out)};
}

at::Tensor rows_of(const at::Tensor& x, const layout::Rows& rows) {
  std::vector<at::Tensor> parts = {x.narrow(0, 0, 0)};
  for (const layout::Range& range : rows) {
    parts.push_back(x.narrow(0, range.first, range.size()));
  }
  return at::cat(parts);
}

// What the ranks of a ring found, in the order of the sequence.
Result ring(const std::vector<int64_t>& starts, int64_t ranks, Order order, const Inputs& in) {
  const std::vector<layout::Rows> rows = layout::deal(starts, ranks, order).rows;
  Result whole{at::empty_like(in.q),
               {at::empty_like(in.q), at::empty_like(in.k), at::empty_like(in.v)}};
  dist::run_ranks({.ring = ranks}, kRing, [&](const dist::Mesh& mesh) {
    const layout::Rows& mine = rows[mesh.rank()];
    RingAttention attention(starts, rows, mesh.group(Span::kRing), at::kCPU, kScale);
    const Result part =
        pass(attention, in.of([&](const at::Tensor& x) { return rows_of(x, mine); }));
    const auto put = [&](const at::Tensor& all, const at::Tensor& x) {
      int64_t at = 0;
      for (const layout::Range& range : mine) {
        all.narrow(0, range.first, range.size()).copy_(x.narrow(0, at, range.size()));
        at += range.size();
      }
    };
    put(whole.out, part.out);
    put(whole.gradients.dq, part.gradients.dq);
    put(whole.gradients.dk, part.gradients.dk);
    put(whole.gradients.dv, part.gradients.dv);
  });
  return whole;
}

const std::map<std::string, std::vector<int64_t>> kBatches = {
    {"one", {0, 211}},
    {"packed", {0, 1, 17, 18, 40, 41, 43, 140, 141, 211}},
    {"short", {0, 1, 2, 3}},  // fewer rows than ranks
};

class Ring : public testing::TestWithParam<std::tuple<int64_t, std::string, Order>> {};

INSTANTIATE_TEST_SUITE_P(
    Attention, Ring,
    testing::Combine(testing::Values(1, 2, 3, 4, 8), testing::Values("one", "packed", "short"),
                     testing::Values(Order::kContiguous, Order::kZigzag, Order::kBalanced)));

TEST_P(Ring, EqualsTheSingleRank) {
  const auto& [ranks, batch, order] = GetParam();
  const std::vector<int64_t>& starts = kBatches.at(batch);
  const Inputs in(starts.back(), 6, 2, 16);
  LocalAttention single(starts, at::kCPU, kScale);
  const Result one = pass(single, in), many = ring(starts, ranks, order, in);
  EXPECT_LT(relative_error(many.out, one.out), 1e-6);
  EXPECT_LT(relative_error(many.gradients.dv, one.gradients.dv), 1e-5);
  if (batch == "short") return;  // softmax of one key: nothing but rounding is left of dq and dk
  EXPECT_LT(relative_error(many.gradients.dq, one.gradients.dq), 1e-5);
  EXPECT_LT(relative_error(many.gradients.dk, one.gradients.dk), 1e-5);
}

TEST(RingAttention, GivesTheSameBitsAgain) {
  const std::vector<int64_t>& starts = kBatches.at("packed");
  const Inputs in(starts.back(), 4, 2, 16);
  const Result a = ring(starts, 4, Order::kBalanced, in), b = ring(starts, 4, Order::kBalanced, in);
  EXPECT_TRUE(a.out.equal(b.out));
  EXPECT_TRUE(a.gradients.dq.equal(b.gradients.dq));
  EXPECT_TRUE(a.gradients.dk.equal(b.gradients.dk));
}

// Keys and values pass every other rank once each way; their gradients, in fp32, go all the way
// home.
TEST(RingAttention, SendsKeysOnceAWayAndTheirGradientsHome) {
  constexpr int64_t kRanks = 4, kRows = 16, kKeys = 2, kDim = 8;
  const std::vector<int64_t> starts = {0, kRanks * kRows};
  const std::vector<layout::Rows> rows = layout::deal(starts, kRanks, Order::kZigzag).rows;
  dist::run_ranks({.ring = kRanks}, kRing, [&](const dist::Mesh& mesh) {
    const dist::Group& group = mesh.group(Span::kRing);
    RingAttention attention(starts, rows, group, at::kCPU, kScale);
    const Inputs in =
        Inputs(kRows, 4, kKeys, kDim).of([](const at::Tensor& x) { return x.to(at::kBFloat16); });
    const AttentionOutput out = attention.forward(in.q, in.k, in.v);
    constexpr int64_t kNumbers = 2 * kRows * kKeys * kDim;
    EXPECT_EQ(group.traffic(dist::Collective::kRingShift).calls, kRanks - 1);
    EXPECT_EQ(group.traffic(dist::Collective::kRingShift).bytes, (kRanks - 1) * kNumbers * 2);
    attention.backward(in.dout, in.q, in.k, in.v, out);
    EXPECT_EQ(group.traffic(dist::Collective::kRingShift).calls, 2 * (kRanks - 1) + kRanks);
    EXPECT_EQ(group.traffic(dist::Collective::kRingShift).bytes,
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
  return {relative_error(found.out, expected.out),
          relative_error(found.gradients.dq, expected.gradients.dq),
          relative_error(found.gradients.dk, expected.gradients.dk),
          relative_error(found.gradients.dv, expected.gradients.dv)};
}

TEST(RingAttention, ErrorsInBfloat16DoNotGrowWithTheRing) {
  const Inputs in =
      Inputs(1024, 4, 2, 64).of([](const at::Tensor& x) { return x.to(at::kBFloat16); });
  const std::vector<int64_t> starts = {0, in.q.size(0)};
  const Result reference = exact(in);
  std::array<double, 4> one{};
  for (const int64_t ranks : {1, 2, 4, 8}) {
    const auto found = errors(ring(starts, ranks, Order::kZigzag, in), reference);
    if (ranks == 1) one = found;
    fmt::print("bf16 against fp64, ring of {}: out {:.3e}, dq {:.3e}, dk {:.3e}, dv {:.3e}\n",
               ranks, found[0], found[1], found[2], found[3]);
    for (size_t i = 0; i < one.size(); ++i) EXPECT_LE(found[i], 1.2 * one[i]) << ranks << " " << i;
  }
}

}  // namespace
}  // namespace trireme::attention
