#include "layout/parameters.h"

#include <gtest/gtest.h>

namespace trireme::layout {
namespace {

using Sizes = std::vector<int64_t>;

// [first, size, stride, count]
Sizes numbers(const Runs& runs) { return {runs.first, runs.size, runs.stride, runs.count}; }

TEST(ParamInfo, APartSaysWhichElementsOfTheWholeItHas) {
  const ParamInfo whole{"w", {4, 6}, 0, 24};
  EXPECT_EQ(whole.global_shape(), (Sizes{4, 6}));
  EXPECT_EQ(numbers(whole.runs()), (Sizes{0, 24, 24, 1}));
  // Rows 2 and 3 of eight are neighbours.
  const ParamInfo rows{"w", {2, 6}, 0, 12, {.dim = 0, .first = 2, .whole = 8}};
  EXPECT_EQ(rows.global_shape(), (Sizes{8, 6}));
  EXPECT_EQ(numbers(rows.runs()), (Sizes{12, 12, 48, 1}));
  // Columns 3 to 5 of nine are a run in each of four rows.
  const ParamInfo columns{"w", {4, 3}, 0, 12, {.dim = 1, .first = 3, .whole = 9}};
  EXPECT_EQ(columns.global_shape(), (Sizes{4, 9}));
  EXPECT_EQ(numbers(columns.runs()), (Sizes{3, 3, 9, 4}));
}

TEST(ModelLayout, BlocksHaveNames) {
  config::ModelSpec spec;
  spec.hidden = spec.heads = spec.kv_heads = spec.head_dim = spec.intermediate = spec.vocab = 2;
  spec.layers = 3;
  const ModelLayout layout = make_layout(spec);
  EXPECT_EQ(layout.blocks[ModelLayout::embedding()].params[0].name, "model.embed_tokens.weight");
  EXPECT_TRUE(layout.blocks[ModelLayout::layer(2)].params[0].name.starts_with("model.layers.2."));
  EXPECT_EQ(layout.blocks[layout.head()].params.back().name, "model.norm.weight");
  EXPECT_EQ(layout.layers(), 3);
  EXPECT_FALSE(layout.is_layer(ModelLayout::embedding()) || layout.is_layer(layout.head()));
}

}  // namespace
}  // namespace trireme::layout
