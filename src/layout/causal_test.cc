#include "layout/causal.h"

#include <gtest/gtest.h>

namespace trireme::layout {
namespace {

using Starts = std::vector<int64_t>;

TEST(CausalArea, CountsTheKeysOfEachRow) {
  const Starts starts = {0, 4, 4, 7};
  const CausalArea area(starts);
  EXPECT_EQ(area.of(Range{0, 7}), 10 + 6);
  EXPECT_EQ(area.of(Range{2, 5}), 3 + 4 + 1);
  EXPECT_EQ(area.of(Range{4, 4}), 0);
  EXPECT_EQ(area.of(Rows{{0, 1}, {3, 4}, {6, 7}}), 1 + 4 + 3);
}

TEST(CausalArea, OfMoreThanThirtyTwoBits) {
  const Starts starts = {0, int64_t{1} << 20};
  EXPECT_EQ(CausalArea(starts).of(Range{0, 1 << 20}), (int64_t{1} << 39) + (1 << 19));
}

// The two cases of zigzag (Zhu 2024, ring-flash-attention) are one call each: all queries against
// the first half of the keys of an earlier rank, the second half of the queries against all keys of
// a later one.
TEST(Rectangles, OfZigzagAreOneCallAStep) {
  const Starts starts = {0, 16};
  const std::vector<Rows> rows = deal(starts, 4, config::RingOrder::kZigzag).rows;
  ASSERT_EQ(rows[1], (Rows{{2, 4}, {12, 14}}));
  EXPECT_EQ(causal_starts(starts, rows[1]), (Starts{0, 2, 4}));
  EXPECT_EQ(rectangles(starts, rows[1], rows[1]), (std::vector<Rectangle>{{{2, 4}, {0, 2}}}));
  EXPECT_EQ(rectangles(starts, rows[1], rows[0]), (std::vector<Rectangle>{{{0, 4}, {0, 2}}}));
  EXPECT_EQ(rectangles(starts, rows[1], rows[2]), (std::vector<Rectangle>{{{2, 4}, {0, 4}}}));
}

TEST(Rectangles, DocumentsWithinARankAreOneListOfSquares) {
  const Starts starts = {0, 2, 3, 5, 9, 12};
  const Rows rows = {{0, 4}, {6, 10}};  // cuts the third and the fourth document
  EXPECT_EQ(causal_starts(starts, rows), (Starts{0, 2, 3, 4, 7, 8}));
  EXPECT_TRUE(rectangles(starts, rows, rows).empty());
  EXPECT_EQ(rectangles(starts, rows, {{4, 6}, {10, 12}}),
            (std::vector<Rectangle>{{{4, 7}, {1, 2}}}));
}

// How often each (query, key) pair is computed.
using Pairs = std::vector<std::vector<int>>;

std::vector<int64_t> positions(const Rows& rows) {
  std::vector<int64_t> list;
  for (const Range& range : rows) {
    for (int64_t i = range.first; i < range.end; ++i) list.push_back(i);
  }
  return list;
}

void add(Pairs& pairs, const Starts& starts, const Rows& queries, const Rows& keys) {
  const std::vector<int64_t> q = positions(queries), k = positions(keys);
  for (const Rectangle& block : rectangles(starts, queries, keys)) {
    for (int64_t i = block.q.first; i < block.q.end; ++i) {
      for (int64_t j = block.k.first; j < block.k.end; ++j) ++pairs[q[i]][k[j]];
    }
  }
}

Pairs computed(const Starts& starts, const std::vector<Rows>& ranks) {
  Pairs pairs(starts.back(), std::vector<int>(starts.back()));
  for (const Rows& mine : ranks) {
    const std::vector<int64_t> at = positions(mine);
    const Starts squares = causal_starts(starts, mine);
    for (size_t s = 1; s < squares.size(); ++s) {
      for (int64_t i = squares[s - 1]; i < squares[s]; ++i) {
        for (int64_t j = squares[s - 1]; j <= i; ++j) ++pairs[at[i]][at[j]];
      }
    }
    for (const Rows& others : ranks) add(pairs, starts, mine, others);
  }
  return pairs;
}

Pairs wanted(const Starts& starts) {
  Pairs pairs(starts.back(), std::vector<int>(starts.back()));
  for (size_t d = 1; d < starts.size(); ++d) {
    for (int64_t i = starts[d - 1]; i < starts[d]; ++i) {
      for (int64_t j = starts[d - 1]; j <= i; ++j) pairs[i][j] = 1;
    }
  }
  return pairs;
}

// One document, several, many short ones, one that most of the sequence is, fewer tokens than
// ranks.
const Starts kBatches[] = {{0, 61},
                           {0, 7, 8, 30, 61},
                           {0, 1, 3, 4, 6, 9, 11, 12, 60},
                           {0, 50, 55, 60},
                           {0, 3, 55, 56, 57, 58},
                           {0, 1, 2, 3, 4, 5, 6, 7, 8, 40},
                           {0, 3},
                           {0, 1, 2}};

TEST(Rectangles, WithTheSquaresCoverEveryPairOnce) {
  for (const Starts& starts : kBatches) {
    for (const config::RingOrder order :
         {config::RingOrder::kContiguous, config::RingOrder::kZigzag,
          config::RingOrder::kBalanced}) {
      for (const int64_t ranks : {1, 2, 3, 4, 8}) {
        EXPECT_EQ(computed(starts, deal(starts, ranks, order).rows), wanted(starts))
            << "documents " << starts.size() - 1 << ", ranks " << ranks;
      }
    }
  }
}

}  // namespace
}  // namespace trireme::layout
