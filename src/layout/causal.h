// Which queries see which keys when ranks hold some rows of packed documents each. A query sees the
// keys of its document up to itself. In a rank's own rows, every run of a document that no other
// rank's rows interrupt is a causal square. All other keys that a range of queries sees lie before
// the range, in the document in which it begins. They form one rectangle, wherever the keys are
// cut.
#pragma once

#include <vector>

#include "layout/sequence.h"

namespace trireme::layout {

// How many (query, key) pairs attention computes.
class CausalArea {
 public:
  // `starts` outlives this.
  explicit CausalArea(const std::vector<int64_t>& starts);
  int64_t of(Range rows) const { return before(rows.end) - before(rows.first); }
  int64_t of(const Rows& rows) const;

 private:
  // The area of all rows before `position`.
  int64_t before(int64_t position) const;
  const std::vector<int64_t>& starts_;
  std::vector<int64_t> sums_;  // of the documents before each
};

// The bounds 0, ..., size(rows) of a rank's causal squares among its rows: one list, as for packed
// documents.
std::vector<int64_t> causal_starts(const std::vector<int64_t>& starts, const Rows& rows);

// A block in which every query sees every key. Rows are counted within their rank.
struct Rectangle {
  Range q;
  Range k;
  bool operator==(const Rectangle&) const = default;
};

// What the queries of one rank see of the keys of another, or of its own outside the causal
// squares. The rectangles' queries are ascending and do not overlap; no range of queries has more
// than one.
std::vector<Rectangle> rectangles(const std::vector<int64_t>& starts, const Rows& queries,
                                  const Rows& keys);

}  // namespace trireme::layout
