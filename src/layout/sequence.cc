#include "layout/sequence.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>

#include "base/error.h"
#include "layout/causal.h"

namespace trireme::layout {
namespace {

// A limit on a rank's chunks: each costs at most one kernel call a step, and may give the rank one
// more token.
constexpr int64_t kMostChunks = 32;

// Appends a range, which begins where the rows end or later.
void append(Rows& rows, Range range) {
  if (range.size() == 0) return;
  if (!rows.empty() && rows.back().end == range.first) {
    rows.back().end = range.end;
  } else {
    rows.push_back(range);
  }
}

std::vector<Range> chunks_of(int64_t tokens, int64_t count) {
  const std::vector<int64_t> bounds = even_cut(tokens, count);
  std::vector<Range> chunks;
  for (int64_t c = 0; c < count; ++c) chunks.push_back({bounds[c], bounds[c + 1]});
  return chunks;
}

std::vector<Rows> contiguous(int64_t tokens, int64_t ranks) {
  std::vector<Rows> rows(ranks);
  const std::vector<Range> chunks = chunks_of(tokens, ranks);
  for (int64_t r = 0; r < ranks; ++r) append(rows[r], chunks[r]);
  return rows;
}

std::vector<Rows> zigzag(int64_t tokens, int64_t ranks) {
  std::vector<Rows> rows(ranks);
  const std::vector<Range> chunks = chunks_of(tokens, 2 * ranks);
  for (int64_t r = 0; r < ranks; ++r) {
    append(rows[r], chunks[r]);
    append(rows[r], chunks[2 * ranks - 1 - r]);
  }
  return rows;
}

// Deals chunks from the largest area to the smallest. Each goes to the rank with the least area so
// far among those with fewer than `each` chunks (longest processing time first, with equal
// numbers).
std::vector<Rows> by_area(const CausalArea& area, int64_t tokens, int64_t ranks, int64_t each) {
  const std::vector<Range> chunks = chunks_of(tokens, ranks * each);
  std::vector<int64_t> order(chunks.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater{},
                           [&](int64_t chunk) { return area.of(chunks[chunk]); });
  using Load = std::pair<int64_t, int64_t>;  // area, rank
  std::priority_queue<Load, std::vector<Load>, std::greater<>> least;
  for (int64_t r = 0; r < ranks; ++r) least.push({0, r});
  std::vector<std::vector<int64_t>> dealt(ranks);
  for (const int64_t chunk : order) {
    const auto [load, rank] = least.top();
    least.pop();
    dealt[rank].push_back(chunk);
    if (std::ssize(dealt[rank]) < each) least.push({load + area.of(chunks[chunk]), rank});
  }
  std::vector<Rows> rows(ranks);
  for (int64_t r = 0; r < ranks; ++r) {
    std::ranges::sort(dealt[r]);
    for (const int64_t chunk : dealt[r]) append(rows[r], chunks[chunk]);
  }
  return rows;
}

double imbalance(const CausalArea& area, const std::vector<Rows>& rows) {
  double largest = 0, sum = 0;
  for (const Rows& of_rank : rows) {
    const auto mine = static_cast<double>(area.of(of_rank));
    largest = std::max(largest, mine);
    sum += mine;
  }
  return sum == 0 ? 1 : largest * static_cast<double>(rows.size()) / sum;
}

Dealt balanced(const std::vector<int64_t>& starts, int64_t ranks) {
  const CausalArea area(starts);
  const int64_t tokens = starts.back();
  Dealt best{zigzag(tokens, ranks), ""};
  double least = imbalance(area, best.rows);
  for (int64_t each = 2; each <= kMostChunks && least > kEven; each *= 2) {
    std::vector<Rows> rows = by_area(area, tokens, ranks, each);
    const double found = imbalance(area, rows);
    if (found >= least) continue;
    least = found;
    best.rows = std::move(rows);
  }
  if (least > kEven) {
    best.uneven = fmt::format(
        "{} tokens of {} documents in up to {} chunks for each of {} ranks: the largest attention "
        "area is {:.2f} times the mean",
        tokens, starts.size() - 1, kMostChunks, ranks, least);
  }
  return best;
}

}  // namespace

std::vector<int64_t> even_cut(int64_t tokens, int64_t parts) {
  std::vector<int64_t> bounds;
  const int64_t least = tokens / parts, more = tokens % parts;
  for (int64_t part = 0, at = 0; part <= parts; ++part) {
    bounds.push_back(at);
    at += least + (part < more ? 1 : 0);
  }
  return bounds;
}

int64_t size(const Rows& rows) {
  int64_t sum = 0;
  for (const Range& range : rows) sum += range.size();
  return sum;
}

Rows slice(const Rows& rows, Range part) {
  Rows slice;
  int64_t at = 0;  // the first of the range among the rows
  for (const Range& range : rows) {
    const int64_t first = std::max(part.first, at), end = std::min(part.end, at + range.size());
    if (first < end) slice.push_back({range.first + first - at, range.first + end - at});
    at += range.size();
  }
  return slice;
}

Rows before(const Rows& rows, int64_t end) {
  Rows list;
  for (const Range& range : rows)
    append(list, {range.first, std::max(range.first, std::min(range.end, end))});
  return list;
}

Dealt deal(const std::vector<int64_t>& starts, int64_t ranks, config::RingOrder order) {
  switch (order) {
    case config::RingOrder::kContiguous:
      return {contiguous(starts.back(), ranks), ""};
    case config::RingOrder::kZigzag:
      return {zigzag(starts.back(), ranks), ""};
    case config::RingOrder::kBalanced:
      break;
  }
  return balanced(starts, ranks);
}

Share share(const std::vector<int64_t>& starts, Seat ring, Seat ulysses, config::RingOrder order) {
  Share mine{deal(starts, ring.size, order), {}, {}};
  const Rows& of_ring = mine.ring.rows[ring.index];
  mine.bounds = even_cut(size(of_ring), ulysses.size);
  mine.rows = slice(of_ring, {mine.bounds[ulysses.index], mine.bounds[ulysses.index + 1]});
  return mine;
}

int64_t most_rows(int64_t tokens, int64_t ranks) {
  return ranks == 1 ? tokens : std::min(tokens, (tokens + ranks - 1) / ranks + kMostChunks);
}

int64_t most_rows(const config::MeshSpec& mesh, int64_t tokens) {
  return even_cut(most_rows(tokens, mesh.ring), mesh.ulysses)[1];
}

double imbalance(const std::vector<int64_t>& starts, const std::vector<Rows>& rows) {
  return imbalance(CausalArea(starts), rows);
}

}  // namespace trireme::layout
