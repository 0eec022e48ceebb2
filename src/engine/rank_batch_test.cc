#include "engine/rank_batch.h"

#include <gtest/gtest.h>

#include <numeric>

#include "dist/testing.h"

namespace trireme::engine {
namespace {

using config::Axis;
using config::MeshSpec;

constexpr Axis kAxes[] = {Axis::kRing, Axis::kUlysses};

// What a row is in the whole batch.
struct Row {
  int64_t token = -1, position = -1, target = -1;
  bool operator==(const Row&) const = default;
};

std::vector<Row> expected(const data::PackedBatch& batch) {
  std::vector<Row> rows;
  for (size_t d = 1; d < batch.document_starts.size(); ++d) {
    const int64_t first = batch.document_starts[d - 1];
    for (int64_t i = first; i < batch.document_starts[d]; ++i) {
      rows.push_back({batch.tokens[i], i - first, batch.targets[i]});
    }
  }
  return rows;
}

std::vector<Row> dealt(const data::PackedBatch& batch, const MeshSpec& spec) {
  std::vector<Row> all(batch.tokens.size());
  dist::run_ranks(spec, kAxes, [&](const dist::Mesh& mesh) {
    const RankBatch mine = rank_batch(batch, mesh, config::RingOrder::kBalanced, at::kCPU, 1);
    const int64_t count = layout::size(mine.rows);
    EXPECT_EQ(mine.tokens.numel(), count);
    EXPECT_LE(count, layout::most_rows(spec, std::ssize(batch.tokens)));
    const auto* tokens = mine.tokens.const_data_ptr<int64_t>();
    const auto* positions = mine.positions.const_data_ptr<int64_t>();
    std::vector<Row> rows;
    for (int64_t i = 0; i < count; ++i) rows.push_back({tokens[i], positions[i], data::kIgnored});
    const auto* trained = mine.trained.rows.const_data_ptr<int64_t>();
    const auto* targets = mine.trained.targets.const_data_ptr<int64_t>();
    for (int64_t i = 0; i < mine.trained.rows.numel(); ++i) rows[trained[i]].target = targets[i];
    int64_t at = 0;
    for (const layout::Range& range : mine.rows) {
      for (int64_t i = range.first; i < range.end; ++i) all[i] = rows[at++];
    }
  });
  return all;
}

data::PackedBatch batch_of(std::vector<int64_t> starts) {
  data::PackedBatch batch;
  batch.tokens.resize(starts.back());
  std::iota(batch.tokens.begin(), batch.tokens.end(), 7);
  for (const int64_t token : batch.tokens) {
    batch.targets.push_back(token % 3 == 0 ? data::kIgnored : 2 * token);
  }
  batch.document_starts = std::move(starts);
  return batch;
}

TEST(RankBatch, RanksHaveEveryRowOnceWithItsPositionAndTarget) {
  const data::PackedBatch batch = batch_of({0, 1, 40, 43, 500, 777});
  for (const MeshSpec& spec : {MeshSpec{}, MeshSpec{.ring = 3}, MeshSpec{.ulysses = 4},
                               MeshSpec{.ring = 2, .ulysses = 2}}) {
    EXPECT_TRUE(dealt(batch, spec) == expected(batch));
  }
}

TEST(RankBatch, OfAMillionTokens) {
  const data::PackedBatch batch = batch_of({0, 5, 5 + (1 << 20), 11 + (1 << 20)});
  EXPECT_TRUE(dealt(batch, {.ring = 4, .ulysses = 2}) == expected(batch));
}

TEST(RankBatch, FewerRowsThanRanks) {
  const data::PackedBatch batch = batch_of({0, 2, 3});
  EXPECT_TRUE(dealt(batch, {.ring = 2, .ulysses = 4}) == expected(batch));
}

TEST(DocumentLengths, OfEachRowAndOfThePaddingBehind) {
  const std::vector<int64_t> starts = {0, 3, 4, 9};
  EXPECT_EQ(document_lengths(starts, {{0, 5}, {8, 9}}), (std::vector<int64_t>{3, 3, 3, 1, 5, 5}));
  EXPECT_EQ(document_lengths(starts, {{2, 4}, {8, 12}}), (std::vector<int64_t>{3, 1, 5, 5, 5, 5}));
  EXPECT_EQ(document_lengths(starts, {}), std::vector<int64_t>{});
}

}  // namespace
}  // namespace trireme::engine
