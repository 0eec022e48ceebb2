#include "engine/memory.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace trireme::engine {
namespace {

config::ModelSpec small_spec() {
  config::ModelSpec spec;
  spec.hidden = 64;
  spec.layers = 3;
  spec.heads = spec.kv_heads = 4;
  spec.head_dim = 16;
  spec.intermediate = 128;
  spec.vocab = 100;
  return spec;
}

class MemoryPlanTest : public testing::Test {
 protected:
  MemoryPlan plan(int64_t budget, const std::string& keep = "auto", int64_t tokens = 1000) const {
    return plan_memory(spec_, layout_,
                       {.tokens = tokens, .keep = keep, .tiles = {0, 0}, .budget = budget});
  }
  static int64_t kept(const MemoryPlan& plan) {
    int64_t count = 0;
    for (const model::Keep& k : plan.execution.keep) count += k.qkv + k.mid + k.mlp;
    return count;
  }
  static constexpr int64_t kPlenty = int64_t{1} << 40;
  config::ModelSpec spec_ = small_spec();
  model::ModelLayout layout_ = model::make_layout(spec_);
};

TEST_F(MemoryPlanTest, KeepsEverythingWhereThereIsRoomAndNothingOnRequest) {
  EXPECT_EQ(kept(plan(kPlenty)), 9);
  EXPECT_EQ(kept(plan(kPlenty, "none")), 0);
  EXPECT_EQ(kept(plan(kPlenty, "all")), 9);
}

TEST_F(MemoryPlanTest, KeepsAPartUnderABudgetAndNeverPassesIt) {
  const int64_t least = plan(kPlenty, "none").table.total(), most = plan(kPlenty).table.total();
  const int64_t budget = (least + most) / 2 * 20 / 19;
  const MemoryPlan half = plan(budget);
  EXPECT_GT(kept(half), 0);
  EXPECT_LT(kept(half), 9);
  EXPECT_LE(half.table.total(), budget);
}

TEST_F(MemoryPlanTest, RefusesWhatDoesNotFitWithTheSum) {
  const int64_t least = plan(kPlenty, "none").table.total();
  EXPECT_NO_THROW(plan(least));
  try {
    plan(least - 1);
    FAIL();
  } catch (const UserError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("not enough memory"), std::string::npos) << text;
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  }
}

TEST_F(MemoryPlanTest, RowsAddUp) {
  const MemoryTable table = plan(kPlenty).table;
  int64_t sum = 0;
  for (const MemoryRow& row : table.rows()) sum += row.bytes;
  EXPECT_EQ(sum, table.total());
  EXPECT_EQ(table.rows()[1].bytes, layout_.numel() * 4);
  EXPECT_EQ(table.json().size(), table.rows().size());
}

}  // namespace
}  // namespace trireme::engine
