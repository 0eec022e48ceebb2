// Overlaps against a map from every element of the whole tensor.
#include "layout/pieces.h"

#include <gtest/gtest.h>

#include <map>

namespace trireme::layout {
namespace {

// The elements of the whole tensor that a piece has, in its order.
std::vector<int64_t> elements(const Piece& piece) {
  std::vector<int64_t> list;
  const Runs& runs = piece.runs;
  for (int64_t i = piece.first; i < piece.first + piece.count; ++i) {
    list.push_back(runs.first + i / runs.size * runs.stride + i % runs.size);
  }
  return list;
}

void expect_right(const Piece& wanted, const Piece& stored) {
  std::map<int64_t, int64_t> have;
  const std::vector<int64_t> from = elements(stored), to = elements(wanted);
  for (size_t i = 0; i < from.size(); ++i) have[from[i]] = static_cast<int64_t>(i);
  std::map<int64_t, int64_t> expected, found;
  for (size_t i = 0; i < to.size(); ++i) {
    if (have.contains(to[i])) expected[static_cast<int64_t>(i)] = have[to[i]];
  }
  for (const Overlap& overlap : overlaps(wanted, stored)) {
    for (int64_t i = 0; i < overlap.count; ++i) {
      EXPECT_TRUE(found.emplace(overlap.to + i, overlap.from + i).second) << "twice";
    }
  }
  EXPECT_EQ(found, expected) << wanted.first << " " << stored.first;
}

// Every way to cut a tensor [6, 8] in two or three along either dimension, and each part among
// ranks, against every other.
TEST(Pieces, OverlapWhereTheyShareElements) {
  std::vector<Piece> pieces;
  const ParamInfo whole{"w", {6, 8}, 0, 48};
  std::vector<Runs> parts = {whole.runs()};
  for (const int64_t ranks : {2, 3}) {
    for (int64_t rank = 0; rank < ranks; ++rank) {
      const int64_t rows = 6 / ranks;
      parts.push_back(ParamInfo{"w", {rows, 8}, 0, rows * 8, {0, rank * rows, 6}}.runs());
    }
  }
  for (int64_t rank = 0; rank < 4; ++rank) {
    parts.push_back(ParamInfo{"w", {6, 2}, 0, 12, {1, rank * 2, 8}}.runs());
  }
  for (const Runs& runs : parts) {
    const int64_t numel = runs.size * runs.count;
    for (const int64_t first : {int64_t{0}, numel / 3, numel / 2 + 1}) {
      for (const int64_t count : {int64_t{0}, int64_t{1}, numel / 4, numel - first}) {
        pieces.push_back({runs, first, std::min(count, numel - first)});
      }
    }
  }
  for (const Piece& wanted : pieces) {
    for (const Piece& stored : pieces) expect_right(wanted, stored);
  }
}

TEST(Pieces, UncutOnesOverlapOnce) {
  const Runs whole{0, int64_t{1} << 40, int64_t{1} << 40, 1};
  EXPECT_EQ(overlaps({whole, 100, int64_t{1} << 39}, {whole, 50, 200}),
            (std::vector<Overlap>{{0, 50, 150}}));
  EXPECT_TRUE(overlaps({whole, 0, 10}, {whole, 10, 10}).empty());
}

}  // namespace
}  // namespace trireme::layout
