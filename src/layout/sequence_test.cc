#include "layout/sequence.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <array>
#include <cmath>
#include <numeric>

#include "base/rng.h"
#include "base/stopwatch.h"
#include "layout/causal.h"

namespace trireme::layout {
namespace {

using Bounds = std::vector<int64_t>;

int64_t peak_kibibytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

TEST(EvenCut, ThePartsAreAlikeAndCoverAll) {
  EXPECT_EQ(even_cut(8, 1), (Bounds{0, 8}));
  EXPECT_EQ(even_cut(8, 4), (Bounds{0, 2, 4, 6, 8}));
  EXPECT_EQ(even_cut(11, 4), (Bounds{0, 3, 6, 9, 11}));
  EXPECT_EQ(even_cut(2, 4), (Bounds{0, 1, 2, 2, 2}));
  EXPECT_EQ(even_cut(0, 2), (Bounds{0, 0, 0}));
}

TEST(EvenCut, OfMoreTokensThanThirtyTwoBitsHold) {
  const Bounds bounds = even_cut((int64_t{1} << 40) + 3, 8);
  EXPECT_EQ(bounds[1], (int64_t{1} << 37) + 1);
  EXPECT_EQ(bounds.back(), (int64_t{1} << 40) + 3);
}

TEST(Slice, CountsRowsOfARank) {
  const Rows rows = {{3, 5}, {10, 14}, {20, 21}};
  EXPECT_EQ(size(rows), 7);
  EXPECT_EQ(slice(rows, {0, 7}), rows);
  EXPECT_EQ(slice(rows, {1, 4}), (Rows{{4, 5}, {10, 12}}));
  EXPECT_EQ(slice(rows, {6, 7}), (Rows{{20, 21}}));
  EXPECT_EQ(slice(rows, {2, 2}), Rows{});
  EXPECT_EQ(before(rows, 12), (Rows{{3, 5}, {10, 12}}));
  EXPECT_EQ(before(rows, 20), (Rows{{3, 5}, {10, 14}}));
}

const config::RingOrder kOrders[] = {config::RingOrder::kContiguous, config::RingOrder::kZigzag,
                                     config::RingOrder::kBalanced};

TEST(Deal, EveryRowGoesToOneRankAndRanksHaveAsMany) {
  for (const std::vector<int64_t>& starts :
       {Bounds{0, 1000}, Bounds{0, 10, 11, 700, 1003}, Bounds{0, 5}, Bounds{0, 0}}) {
    for (const config::RingOrder order : kOrders) {
      for (const int64_t ranks : {1, 2, 3, 8}) {
        const std::vector<Rows> dealt = deal(starts, ranks, order).rows;
        std::vector<int> times(starts.back());
        for (const Rows& rows : dealt) {
          EXPECT_LE(size(rows), most_rows(starts.back(), ranks));
          for (const Range& range : rows) {
            EXPECT_LT(range.first, range.end);
            for (int64_t i = range.first; i < range.end; ++i) ++times[i];
          }
        }
        EXPECT_EQ(times, std::vector<int>(starts.back(), 1));
      }
    }
  }
}

TEST(Deal, BalancedIsZigzagWhereThatIsEven) {
  const Bounds one = {0, 4096};
  EXPECT_EQ(deal(one, 8, config::RingOrder::kBalanced).rows,
            deal(one, 8, config::RingOrder::kZigzag).rows);
  EXPECT_EQ(deal(one, 2, config::RingOrder::kZigzag).rows[0], (Rows{{0, 1024}, {3072, 4096}}));
}

TEST(Deal, SaysWhatCannotBeEven) {
  const Dealt dealt = deal({0, 2}, 2, config::RingOrder::kBalanced);
  EXPECT_EQ(dealt.uneven,
            "2 tokens of 1 documents in up to 32 chunks for each of 2 ranks: the largest attention "
            "area is 1.33 times the mean");
}

// Documents with lengths like exp(normal(0, spread)), of 2^20 tokens together.
Bounds documents(int64_t count, double spread) {
  std::vector<double> sizes;
  Rng rng(count);
  for (int64_t i = 0; i < count; ++i) {
    double normal = -6;  // Irwin and Hall: the sum of twelve
    for (int k = 0; k < 12; ++k) normal += rng.uniform();
    sizes.push_back(std::exp(spread * normal));
  }
  const double sum = std::accumulate(sizes.begin(), sizes.end(), 0.0);
  Bounds starts = {0};
  double end = 0;
  for (const double size : sizes) {
    end += size;
    starts.push_back(std::llround(end / sum * (1 << 20)));
  }
  return starts;
}

struct Batch {
  const char* name;
  Bounds starts;
};
std::vector<Batch> batches() {
  return {{"one document", {0, 1 << 20}},
          {"50 documents", documents(50, 1)},
          {"30,000 documents", documents(30000, 0.7)}};
}

TEST(Deal, ABalancedAreaIsWithinFivePercentOfTheMean) {
  fmt::print("Largest / mean attention area of a rank, 2^20 tokens:\n");
  fmt::print("{:18} {:>5} {:>11} {:>7} {:>9}\n", "", "ranks", "contiguous", "zigzag", "balanced");
  for (const Batch& batch : batches()) {
    for (const int64_t ranks : {2, 8, 32}) {
      std::array<double, 3> found{};
      for (const config::RingOrder order : kOrders) {
        const Dealt dealt = deal(batch.starts, ranks, order);
        found[static_cast<size_t>(order)] = imbalance(batch.starts, dealt.rows);
        EXPECT_EQ(dealt.uneven, "");
      }
      const auto of = [&](config::RingOrder order) { return found[static_cast<size_t>(order)]; };
      const double balanced = of(config::RingOrder::kBalanced);
      fmt::print("{:18} {:5} {:11.3f} {:7.3f} {:9.3f}\n", batch.name, ranks,
                 of(config::RingOrder::kContiguous), of(config::RingOrder::kZigzag), balanced);
      EXPECT_LE(balanced, kEven);
    }
  }
}

TEST(Deal, PlansAMillionTokensOfThirtyThousandDocumentsInLittleTimeAndMemory) {
  constexpr int64_t kRanks = 8;
  const Bounds starts = documents(30000, 0.7);
  const Stopwatch clock;
  const int64_t before = peak_kibibytes();
  const std::vector<Rows> rows = deal(starts, kRanks, config::RingOrder::kBalanced).rows;
  std::vector<Bounds> squares;
  std::vector<std::vector<Rectangle>> all;
  for (const Rows& mine : rows) {
    squares.push_back(causal_starts(starts, mine));
    for (const Rows& others : rows) all.push_back(rectangles(starts, mine, others));
  }
  const double seconds = clock.seconds();
  const int64_t mebibytes = (peak_kibibytes() - before) / 1024;
  fmt::print("30,000 documents, {} ranks: planned in {:.1f} ms and {} MiB\n", kRanks, 1e3 * seconds,
             mebibytes);
  EXPECT_LT(seconds, 1);
  EXPECT_LT(mebibytes, 100);
}

}  // namespace
}  // namespace trireme::layout
