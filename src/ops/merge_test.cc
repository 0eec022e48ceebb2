#include "ops/merge.h"

#include <ATen/ops/exp.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "ops/testing.h"

namespace trireme::ops {
namespace {

constexpr int64_t kRows = 23, kHeads = 3, kDim = 10;

AttentionPart random_part(int64_t first, int64_t rows, uint64_t seed) {
  return {random_tensor({rows, kHeads, kDim}, seed), random_tensor({kHeads, rows}, seed + 1) * 4,
          first};
}

struct Merged {
  at::Tensor out, lse;
};

// By the definition, in double.
Merged definition(const at::Tensor& out, const at::Tensor& lse,
                  const std::vector<AttentionPart>& parts) {
  const auto by_row = [](const at::Tensor& x) { return x.t().unsqueeze(2); };
  at::Tensor sum = at::exp(lse.to(at::kDouble));
  at::Tensor weighted = out.to(at::kDouble) * by_row(sum);
  for (const AttentionPart& part : parts) {
    const int64_t rows = part.out.size(0);
    const at::Tensor of = at::exp(part.lse.to(at::kDouble));
    sum.narrow(1, part.first, rows).add_(of);
    weighted.narrow(0, part.first, rows).add_(part.out.to(at::kDouble) * by_row(of));
  }
  return {weighted / by_row(sum), sum.log()};
}

TEST(MergeAttention, WeighsPartsByTheirSumsOfExponentials) {
  const AttentionPart all = random_part(0, kRows, 1);
  const std::vector<AttentionPart> parts = {random_part(0, kRows, 3), random_part(11, 12, 5),
                                            random_part(4, 1, 7)};
  const Merged expected = definition(all.out, all.lse, parts);
  at::Tensor lse = all.lse.clone();
  const at::Tensor base = all.out.clone();
  const at::Tensor out = merge_attention(base, lse, parts, at::kFloat);
  EXPECT_TRUE(out.is_same(base));
  EXPECT_LT(relative_error(out, expected.out), 1e-6);
  EXPECT_LT(relative_error(lse, expected.lse), 1e-6);
}

TEST(MergeAttention, OneCallIsAsGoodAsSeveral) {
  const AttentionPart all = random_part(0, kRows, 1);
  const std::vector<AttentionPart> parts = {random_part(0, kRows, 3), random_part(11, 12, 5)};
  at::Tensor lse = all.lse.clone(), one_lse = all.lse.clone();
  at::Tensor one = all.out.clone();
  for (const AttentionPart& part : parts) one = merge_attention(one, one_lse, {part}, at::kFloat);
  const at::Tensor out = merge_attention(all.out.clone(), lse, parts, at::kFloat);
  EXPECT_LT(relative_error(one, out), 1e-6);
  EXPECT_LT(relative_error(one_lse, lse), 1e-6);
}

// Exponentials of either would overflow, or all vanish.
TEST(MergeAttention, PartsMayBeFarApart) {
  for (const double shift : {-400.0, 400.0}) {
    const AttentionPart all = random_part(0, kRows, 1);
    AttentionPart other = random_part(0, kRows, 3);
    other.lse = other.lse + shift;
    at::Tensor lse = all.lse.clone();
    const at::Tensor out = merge_attention(all.out.clone(), lse, {other}, at::kFloat);
    EXPECT_LT(relative_error(out, shift < 0 ? all.out : other.out), 1e-6);
    EXPECT_LT(relative_error(lse, shift < 0 ? all.lse : other.lse), 1e-6);
  }
}

TEST(MergeAttention, RoundsOnceToTheDtypeThatIsAskedFor) {
  const AttentionPart all = random_part(0, kRows, 1), other = random_part(9, 14, 3);
  at::Tensor lse = all.lse.clone(), wide_lse = all.lse.clone();
  const at::Tensor base = all.out.to(at::kBFloat16);
  const std::vector<AttentionPart> parts = {{other.out.to(at::kBFloat16), other.lse, 9}};
  const at::Tensor wide = merge_attention(base, wide_lse, parts, at::kFloat);
  const at::Tensor narrow = merge_attention(base, lse, parts, at::kBFloat16);
  EXPECT_EQ(wide.scalar_type(), at::kFloat);
  EXPECT_TRUE(narrow.equal(wide.to(at::kBFloat16)));
  EXPECT_TRUE(merge_attention(wide, lse, {}, at::kBFloat16).equal(narrow));
}

TEST(AddParts, AddsRowsInFloat) {
  const at::Tensor start = random_part(0, kRows, 1).out, x = random_part(0, 12, 3).out,
                   y = random_part(0, 1, 5).out;
  at::Tensor expected = start.clone();
  expected.narrow(0, 11, 12).add_(x.to(at::kBFloat16).to(at::kFloat));
  expected.narrow(0, 0, 1).add_(y.to(at::kBFloat16).to(at::kFloat));
  const std::vector<AttentionPart> parts = {{x.to(at::kBFloat16), {}, 11},
                                            {y.to(at::kBFloat16), {}, 0}};
  EXPECT_TRUE(
      add_parts(start, parts, at::kBFloat16).equal(expected.to(at::kBFloat16)));  // in place too
  EXPECT_TRUE(start.equal(expected));
}

}  // namespace
}  // namespace trireme::ops
