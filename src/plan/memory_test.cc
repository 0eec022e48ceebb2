#include "plan/memory.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "config/shapes.h"
#include "plan/state_bytes.h"

namespace trireme::plan {
namespace {

using config::Keeping;

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
  MemoryPlan plan(int64_t budget, Keeping keep = Keeping::kAuto, int64_t tokens = 1000) const {
    return plan_memory(
        {.activations =
             {.model = &model_, .tokens = tokens, .longest = tokens, .keep = keep, .tiles = {0, 0}},
         .budget = budget});
  }
  static int64_t kept(const MemoryPlan& plan) {
    int64_t count = 0;
    for (const Keep& k : plan.execution.keep)
      count += k.attention + k.qkv + k.heads + k.mid + k.mlp;
    return count;
  }
  static constexpr int64_t kPlenty = int64_t{1} << 40;
  layout::Model model_{small_spec()};
};

TEST_F(MemoryPlanTest, KeepsEverythingWhereThereIsRoomAndNothingOnRequest) {
  EXPECT_EQ(kept(plan(kPlenty)), 15);
  EXPECT_EQ(kept(plan(kPlenty, Keeping::kNone)), 0);
  EXPECT_EQ(kept(plan(kPlenty, Keeping::kAll)), 15);
}

TEST_F(MemoryPlanTest, KeepsAPartUnderABudgetAndNeverPassesIt) {
  const int64_t least = plan(kPlenty, Keeping::kNone).table.total(),
                most = plan(kPlenty).table.total();
  const int64_t budget = (least + most) / 2;
  const MemoryPlan half = plan(budget);
  EXPECT_GT(kept(half), 0);
  EXPECT_LT(kept(half), 15);
  EXPECT_LE(half.table.total(), budget);
}

TEST_F(MemoryPlanTest, RefusesWhatDoesNotFitWithTheSum) {
  const int64_t least = plan(kPlenty, Keeping::kNone).table.total();
  const int64_t spare = least / 40;  // a share of what activations may take stays free
  EXPECT_NO_THROW(plan(least + spare));
  try {
    plan(least - 1);
    FAIL();
  } catch (const UserError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("not enough memory"), std::string::npos) << text;
    EXPECT_NE(text.find("tokens in a batch fit"), std::string::npos) << text;
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  }
}

TEST_F(MemoryPlanTest, TheLongestThatItNamesFits) {
  const int64_t budget = plan(kPlenty, Keeping::kNone, 10000).table.total();
  try {
    plan(budget, Keeping::kAuto, 20000);
    FAIL();
  } catch (const UserError& error) {
    const std::string text = error.what();
    const int64_t longest = std::stoll(text.substr(text.find("at most ") + 8));
    EXPECT_GT(longest, 9000);
    EXPECT_NO_THROW(plan(budget, Keeping::kAuto, longest));
    EXPECT_THROW(plan(budget, Keeping::kNone, longest + longest / 100), UserError);
  }
}

TEST_F(MemoryPlanTest, MoreMemoryIsNeverASlowerPlan) {
  const int64_t least = plan(kPlenty, Keeping::kNone, 5000).table.total();
  const int64_t most = plan(kPlenty, Keeping::kAuto, 5000).table.total();
  double before = std::numeric_limits<double>::infinity();
  for (int64_t budget = least + least / 40; budget < 2 * most; budget += (most - least) / 37) {
    const double seconds = plan(budget, Keeping::kAuto, 5000).activations.seconds;
    EXPECT_LE(seconds, before) << budget;
    before = seconds;
  }
}

// The table of a whole-size model, without a device: it is arithmetic.
TEST(MemoryPlanOfAWholeModel, LoraOf8BAt256KFitsAnH200) {
  layout::Model model(config::known_shape("qwen3-8b"));
  model.adapters = layout::make_adapters(
      model.spec, {.rank = 16, .target_modules = {"q_proj", "k_proj", "v_proj", "o_proj"}});
  MemoryRequest request{.activations = {.model = &model,
                                        .hardware = {.cuda = true},
                                        .format = NumberFormat::kBFloat16,
                                        .tokens = 262144,
                                        .longest = 262144,
                                        .keep = Keeping::kAuto,
                                        .tiles = {0, 0}},
                        .budget = int64_t{139} << 30};
  const MemoryPlan plan = plan_memory(request);
  EXPECT_LE(plan.table.total(), request.budget);
  EXPECT_TRUE(std::ranges::any_of(plan.execution.keep, &Keep::attention));
  request.activations.tokens = request.activations.longest = 524288;
  EXPECT_THROW(plan_memory(request), UserError);
}

TEST_F(MemoryPlanTest, RowsAddUp) {
  const MemoryTable table = plan(kPlenty).table;
  int64_t sum = 0;
  for (const MemoryRow& row : table.rows()) sum += row.bytes;
  EXPECT_EQ(sum, table.total());
  EXPECT_EQ(table.rows()[1].bytes, model_.layout.numel() * 4);
  EXPECT_EQ(table.json().size(), table.rows().size());
}

// The optimizer's rows say what is allocated: 4 bytes a master weight, and of 8-bit moments two
// bytes and a 32nd each.
TEST_F(MemoryPlanTest, OptimizerRowsFollowTheFormats) {
  const auto rows = [&](bool master, MomentFormat format) {
    MemoryRequest request{.activations = {.model = &model_,
                                          .hardware = {.cuda = true},
                                          .format = NumberFormat::kBFloat16,
                                          .tokens = 1000,
                                          .longest = 1000,
                                          .keep = Keeping::kNone,
                                          .tiles = {0, 0}},
                          .master_weights = master,
                          .moments = format,
                          .budget = kPlenty};
    std::map<RowKind, MemoryRow> found;
    const MemoryTable table = plan_memory(request).table;
    for (const MemoryRow& row : table.rows()) found[row.kind] = row;
    return found;
  };
  const int64_t count = model_.layout.numel();
  auto full = rows(true, MomentFormat::kFloat32);
  EXPECT_EQ(full[RowKind::kMasterWeights].bytes, 4 * count);
  EXPECT_EQ(full[RowKind::kMoments].bytes, 8 * count);
  auto least = rows(false, MomentFormat::kEightBit);
  EXPECT_FALSE(least.contains(RowKind::kMasterWeights));
  EXPECT_EQ(least[RowKind::kMoments].what, fmt::format("2 x {} 8-bit", count));
  EXPECT_NEAR(static_cast<double>(least[RowKind::kMoments].bytes),
              2.03125 * static_cast<double>(count), 8.0 * 2 * 5);  // a part's last block is whole
  EXPECT_EQ(rows(true, MomentFormat::kBFloat16)[RowKind::kMoments].bytes, 4 * count);
}

// With AdamW on the host: gradients too, unless it is given each at once; the arenas are what the
// rows say.
TEST_F(MemoryPlanTest, AdamWOnTheHostTakesTheGradientsThere) {
  MemoryRequest request{.activations = {.model = &model_,
                                        .hardware = {.cuda = true},
                                        .format = NumberFormat::kBFloat16,
                                        .tokens = 1000,
                                        .longest = 1000,
                                        .keep = Keeping::kNone,
                                        .tiles = {0, 0},
                                        .host_room = kPlenty},
                        .update = config::OptimizerOffload::kCpu,
                        .budget = kPlenty};
  const auto bytes = [](const MemoryPlan& plan, RowKind kind, Residence where) {
    int64_t sum = 0;
    for (const MemoryRow& row : plan.table.rows()) {
      sum += row.kind == kind && row.where == where ? row.bytes : 0;
    }
    return sum;
  };
  const int64_t count = model_.layout.numel();
  const MemoryPlan whole = plan_memory(request);
  EXPECT_EQ(bytes(whole, RowKind::kGradients, Residence::kHost), 4 * count);
  EXPECT_EQ(bytes(whole, RowKind::kGradients, Residence::kDevice), 0);
  const int64_t passing = bytes(whole, RowKind::kPassingGradients, Residence::kDevice);
  EXPECT_GT(passing, 0);
  EXPECT_LT(passing, 4 * count);
  const auto arena = static_cast<double>(whole.gradients_arena);
  const auto rows = static_cast<double>(bytes(whole, RowKind::kGradients, Residence::kHost) +
                                        bytes(whole, RowKind::kHostPieces, Residence::kHost));
  EXPECT_NEAR(arena, rows, 64 * 5);
  EXPECT_EQ(bytes(whole, RowKind::kMasterWeights, Residence::kHost), 4 * count);
  request.fused = true;
  const MemoryPlan fused = plan_memory(request);
  EXPECT_EQ(bytes(fused, RowKind::kGradients, Residence::kHost), 0);
  EXPECT_EQ(bytes(fused, RowKind::kPassingGradients, Residence::kDevice), passing);
  EXPECT_EQ(fused.gradients_arena, bytes(fused, RowKind::kHostPieces, Residence::kHost));
  EXPECT_EQ(fused.gradients_arena, 3 * (6 * kHostPiece + 64));
}

}  // namespace
}  // namespace trireme::plan
