// The merging of attention's parts against its CPU twin, which goes part by part.
#include "ops/gpu_testing.h"
#include "ops/merge.h"

namespace trireme::ops {
namespace {

using testing::Combine;
using testing::Values;

struct BothParts {
  AttentionPart device, host;
};

// dtype of the parts, rows, dim.
class MergeGpu : public testing::TestWithParam<Rows> {
 protected:
  static constexpr int64_t kHeads = 5;

  static at::ScalarType dtype() { return std::get<0>(GetParam()); }
  static int64_t rows() { return std::get<1>(GetParam()); }
  static int64_t dim() { return std::get<2>(GetParam()); }

  static BothParts part(int64_t first, int64_t count, uint64_t seed) {
    const Both out = random_both({count, kHeads, dim()}, seed, dtype());
    const Both lse = Both(random_tensor({kHeads, count}, seed + 1) * 4, at::kFloat);
    return {{out.device, lse.device, first}, {out.host, lse.host, first}};
  }
  // Over all rows; some; one; again all, with numbers far above the others.
  static std::vector<BothParts> parts() {
    std::vector<BothParts> list = {part(0, rows(), 11), part(rows() / 2, rows() - rows() / 2, 13),
                                   part(rows() / 3, 1, 15), part(0, rows(), 17)};
    for (AttentionPart* p : {&list.back().device, &list.back().host}) p->lse = p->lse + 100;
    return list;
  }
  static std::pair<std::vector<AttentionPart>, std::vector<AttentionPart>> first(
      const std::vector<BothParts>& all, size_t count) {
    std::vector<AttentionPart> device, host;
    for (size_t i = 0; i < count; ++i) {
      device.push_back(all[i].device);
      host.push_back(all[i].host);
    }
    return {device, host};
  }
};

INSTANTIATE_TEST_SUITE_P(Shapes, MergeGpu,
                         Combine(Values(at::kFloat, at::kBFloat16), Values(1, 127, 4097),
                                 Values(10, 64, 128, 320)));

TEST_P(MergeGpu, EqualsItsTwinAndRepeats) {
  const std::vector<BothParts> all = parts();
  for (const at::ScalarType from : {at::kFloat, dtype()}) {
    for (const at::ScalarType to : {at::kFloat, dtype()}) {
      for (size_t count = 0; count <= all.size(); ++count) {
        const auto [device, host] = first(all, count);
        const Both out = random_both({rows(), kHeads, dim()}, 1, from);
        const Both lse = random_both({kHeads, rows()}, 2, at::kFloat);
        at::Tensor lse_a = lse.device.clone(), lse_b = lse.device.clone(),
                   lse_host = lse.host.clone();
        const at::Tensor a = merge_attention(out.device.clone(), lse_a, device, to);
        const at::Tensor b = merge_attention(out.device.clone(), lse_b, device, to);
        const at::Tensor expected = merge_attention(out.host.clone(), lse_host, host, at::kFloat);
        EXPECT_EQ(a.scalar_type(), to);
        EXPECT_TRUE(same_bits(a, b) && same_bits(lse_a, lse_b));
        EXPECT_LT(gpu_error(a, expected), tolerance(to));
        EXPECT_LT(gpu_error(lse_a, lse_host), tolerance(at::kFloat));
      }
    }
  }
}

// In the same order, so that not a bit differs.
TEST_P(MergeGpu, GradientsEqualTheirTwin) {
  std::vector<BothParts> all = parts();
  for (BothParts& part : all) part.device.lse = part.host.lse = at::Tensor();
  for (const at::ScalarType from : {at::kFloat, dtype()}) {
    for (const at::ScalarType to : {at::kFloat, dtype()}) {
      for (size_t count = 0; count <= all.size(); ++count) {
        const auto [device, host] = first(all, count);
        const Both sum = random_both({rows(), kHeads, dim()}, 1, from);
        const at::Tensor expected = add_parts(sum.host.clone(), host, at::kFloat).to(to);
        EXPECT_TRUE(add_parts(sum.device.clone(), device, to).cpu().equal(expected));
      }
    }
  }
}

}  // namespace
}  // namespace trireme::ops
