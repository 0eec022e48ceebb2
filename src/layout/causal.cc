#include "layout/causal.h"

#include <algorithm>
#include <iterator>

namespace trireme::layout {
namespace {

int64_t triangle(int64_t rows) { return rows * (rows + 1) / 2; }

// The document that contains the position.
Range document_of(const std::vector<int64_t>& starts, int64_t position) {
  const auto next = std::ranges::upper_bound(starts, position);
  return {*std::prev(next), *next};
}

// The rows whose positions lie in `span`, counted within `rows`.
Range within(const Rows& rows, Range span) {
  Range found{-1, -1};
  int64_t at = 0;
  for (const Range& range : rows) {
    const int64_t first = std::max(range.first, span.first), end = std::min(range.end, span.end);
    if (first < end) {
      if (found.first < 0) found.first = at + first - range.first;
      found.end = at + end - range.first;
    }
    at += range.size();
  }
  return found;
}

// Adds a rectangle at the end. Adjacent ones with the same keys become one, which is one kernel
// call.
void append(std::vector<Rectangle>& list, const Rectangle& next) {
  if (!list.empty() && list.back().q.end == next.q.first && list.back().k == next.k) {
    list.back().q.end = next.q.end;
  } else {
    list.push_back(next);
  }
}

}  // namespace

CausalArea::CausalArea(const std::vector<int64_t>& starts) : starts_(starts), sums_{0} {
  for (size_t i = 1; i < starts.size(); ++i) {
    sums_.push_back(sums_.back() + triangle(starts[i] - starts[i - 1]));
  }
}

int64_t CausalArea::before(int64_t position) const {
  // The last document that begins at the position or before: empty documents may begin there too.
  const auto document = std::prev(std::ranges::upper_bound(starts_, position)) - starts_.begin();
  return sums_[document] + triangle(position - starts_[document]);
}

int64_t CausalArea::of(const Rows& rows) const {
  int64_t sum = 0;
  for (const Range& range : rows) sum += of(range);
  return sum;
}

std::vector<int64_t> causal_starts(const std::vector<int64_t>& starts, const Rows& rows) {
  std::vector<int64_t> offsets;
  int64_t at = 0;
  for (const Range& range : rows) {
    offsets.push_back(at);
    for (auto next = std::ranges::upper_bound(starts, range.first); *next < range.end; ++next) {
      offsets.push_back(at + *next - range.first);
    }
    at += range.size();
  }
  offsets.push_back(at);
  return offsets;
}

std::vector<Rectangle> rectangles(const std::vector<int64_t>& starts, const Rows& queries,
                                  const Rows& keys) {
  std::vector<Rectangle> list;
  int64_t at = 0;  // of the range among the queries' rank's rows
  for (const Range& range : queries) {
    const Range document = document_of(starts, range.first);
    const Range k = within(keys, {document.first, range.first});
    if (k.size() > 0) append(list, {{at, at + std::min(range.end, document.end) - range.first}, k});
    at += range.size();
  }
  return list;
}

}  // namespace trireme::layout
