#include "plan/activations.h"

#include <gtest/gtest.h>

#include <limits>

#include "config/shapes.h"
#include "plan/activation_costs.h"
#include "plan/step_cost.h"

namespace trireme::plan {
namespace {

using config::ActivationOffload;

constexpr int64_t kPlenty = int64_t{1} << 44;

class OffloadPlanTest : public testing::TestWithParam<const char*> {
 protected:
  ActivationRequest request(int64_t tokens, int64_t host_room = kPlenty) const {
    return {.model = &model_,
            .hardware = {.cuda = true},
            .format = NumberFormat::kBFloat16,
            .tokens = tokens,
            .longest = tokens,
            .tiles = {},
            .host_room = host_room};
  }
  static layout::Model shape(const char* name) {
    config::ModelSpec spec = config::known_shape(name);
    spec.layers = 12;
    if (spec.moe) spec.sparse_layers.assign(spec.layers, true);
    return layout::Model(std::move(spec));
  }
  static int64_t on_host(const ActivationPlan& plan, Residence SavedResidence::*part) {
    return std::ranges::count(plan.saved_at, Residence::kHost, part);
  }
  // The arena's bytes, added up from what each layer has there.
  static int64_t host_sum(const ActivationRequest& r, const ActivationPlan& plan, bool slots) {
    int64_t sum = 0;
    for (int64_t i = 0; i < r.model->spec.layers; ++i) {
      const SavedBytes bytes = saved_bytes(r, i, plan.tiles);
      const SavedResidence& places = plan.saved_at[i];
      if (places.input == Residence::kHost) sum += slots ? bytes.host_input : bytes.input;
      if (places.attention == Residence::kHost)
        sum += slots ? bytes.host_attention : bytes.attention;
      if (places.routing == Residence::kHost) sum += slots ? bytes.host_routing : bytes.routing;
    }
    return sum;
  }
  const layout::Model model_ = shape(GetParam());
};

TEST_P(OffloadPlanTest, NothingGoesToTheHostWhereEverythingFits) {
  const auto plan = plan_activations(request(32768), kPlenty);
  EXPECT_EQ(plan->host, 0);
  EXPECT_EQ(plan->staging, 0);
  EXPECT_EQ(on_host(*plan, &SavedResidence::input), 0);
}

// The search loses to recomputing what the bound of the benchmark counts for it: one time model.
TEST_P(OffloadPlanTest, RecomputingCostsTheSearchWhatItCostsTheBound) {
  for (const int64_t checkpoints : {0, 5}) {
    ActivationRequest r = request(32768);
    r.keep = config::Keeping::kNone;
    r.number_checkpoints = checkpoints;
    const auto plan = plan_activations(r, kPlenty);
    const StepCost cost = recompute_cost(r.model->spec, Workload::of({r.tokens}), r.format,
                                         plan->keep, plan->segments.back());
    EXPECT_NEAR(plan->seconds - tile_seconds(r, plan->tiles), seconds_at(cost, kReferenceRates),
                1e-9 * plan->seconds);
  }
}

TEST_P(OffloadPlanTest, EarlyLayersGoFirstAndTheBudgetIsKept) {
  const ActivationRequest r = request(131072);
  const auto all = plan_activations(r, kPlenty);
  const int64_t least = least_activations(r).total();
  const int64_t logits = 512 * r.model->spec.vocab * 4;  // a hole for them is left free
  for (int64_t room = least + logits; room < all->total(); room += least / 16) {
    const auto plan = plan_activations(r, room);
    ASSERT_TRUE(plan);
    ASSERT_LE(plan->total() + plan->tiles.loss * r.model->spec.vocab * 4, room + room / kSpare);
    EXPECT_EQ(plan->host, host_sum(r, *plan, /*slots=*/true));
    const int64_t count = on_host(*plan, &SavedResidence::input);
    for (int64_t i = 0; i < count; ++i) EXPECT_EQ(plan->saved_at[i].input, Residence::kHost);
    EXPECT_EQ(plan->staging > 0, count > 0);
  }
}

TEST_P(OffloadPlanTest, MoreMemoryIsNeverASlowerPlan) {
  for (const auto offload : {ActivationOffload::kAuto, ActivationOffload::kAll}) {
    for (const int64_t checkpoints : {0, 3}) {
      ActivationRequest r = request(65536);
      r.offload = offload;
      r.number_checkpoints = checkpoints;
      const int64_t whole = plan_activations(r, kPlenty)->total();
      const int64_t host = least_activations(r).host * 2;
      std::vector<double> of_less_host(24, std::numeric_limits<double>::infinity());
      for (int64_t share = 0; share <= 8; ++share) {
        r.host_room = host * share / 8;
        double before = std::numeric_limits<double>::infinity();
        for (int64_t step = 0; step < 24; ++step) {
          const auto plan = plan_activations(r, whole * (step + 1) / 20);
          const double seconds = plan ? plan->seconds : std::numeric_limits<double>::infinity();
          EXPECT_LE(seconds, before) << word(offload) << " device " << step << " host " << share;
          EXPECT_LE(seconds, of_less_host[step]) << word(offload) << " device " << step;
          before = of_less_host[step] = seconds;
        }
      }
    }
  }
}

TEST_P(OffloadPlanTest, AllLeavesNothingSavedOnTheDevice) {
  ActivationRequest r = request(32768);
  r.offload = ActivationOffload::kAll;
  const auto plan = plan_activations(r, kPlenty);
  EXPECT_EQ(plan->saved, 0);
  EXPECT_EQ(on_host(*plan, &SavedResidence::input), 12);
  EXPECT_EQ(on_host(*plan, &SavedResidence::attention), 12);
  EXPECT_TRUE(std::ranges::all_of(plan->keep, &Keep::mlp));
  EXPECT_EQ(plan->host, host_sum(r, *plan, /*slots=*/true));
}

TEST_P(OffloadPlanTest, TheArenaIsHardlyLargerThanWhatItHolds) {
  for (const int64_t tokens : {777, 4096, 50000}) {
    ActivationRequest r = request(tokens);
    r.offload = ActivationOffload::kAll;
    const auto plan = plan_activations(r, kPlenty);
    EXPECT_LE(static_cast<double>(plan->host),
              1.02 * static_cast<double>(host_sum(r, *plan, /*slots=*/false)));
  }
}

TEST_P(OffloadPlanTest, ASmallHostDropsAttentionOfAsFewLayersAsNeedBe) {
  ActivationRequest r = request(32768);
  r.offload = ActivationOffload::kAll;
  const ActivationPlan all = *plan_activations(r, kPlenty);
  r.host_room = all.host - 1;
  const auto plan = plan_activations(r, kPlenty);
  EXPECT_EQ(on_host(*plan, &SavedResidence::attention), 11);
  EXPECT_EQ(on_host(*plan, &SavedResidence::input), 12);
  r.host_room = 1 << 20;
  EXPECT_FALSE(plan_activations(r, kPlenty));
}

TEST_P(OffloadPlanTest, NoneNeverUsesTheHost) {
  ActivationRequest r = request(131072);
  r.offload = ActivationOffload::kNone;
  const int64_t least = least_activations(r).total();
  EXPECT_FALSE(plan_activations(r, least - 1));
  EXPECT_EQ(plan_activations(r, least)->host, 0);
  r.offload = ActivationOffload::kAuto;
  EXPECT_GT(plan_activations(r, least - 1)->host, 0);
}

TEST_P(OffloadPlanTest, CheckpointsAreEvenlySpacedAndHoldLess) {
  ActivationRequest r = request(131072);
  r.number_checkpoints = 5;
  const auto plan = plan_activations(r, kPlenty);
  EXPECT_EQ(plan->segments, (std::vector<int64_t>{0, 2, 4, 7, 9}));
  ActivationRequest none = request(131072);
  none.offload = ActivationOffload::kNone;
  const int64_t whole = least_activations(none).total();
  none.number_checkpoints = 5;
  EXPECT_LT(least_activations(none).total(), whole);
  for (int64_t i = 0; i < 9; ++i) {
    const bool first = i == 0 || i == 2 || i == 4 || i == 7;
    EXPECT_EQ(plan->saved_at[i].input, first ? Residence::kDevice : Residence::kRecompute) << i;
    EXPECT_NE(plan->saved_at[i].routing, Residence::kRecompute);
  }
  EXPECT_GT(plan->seconds, plan_activations(request(131072), kPlenty)->seconds);
  for (const int64_t every : {0, 1, 12, 13}) {
    r.number_checkpoints = every;
    EXPECT_EQ(plan_activations(r, kPlenty)->segments, std::vector<int64_t>{0});
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, OffloadPlanTest, testing::Values("qwen3-8b", "qwen3-30b-a3b"));

}  // namespace
}  // namespace trireme::plan
