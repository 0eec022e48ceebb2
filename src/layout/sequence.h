// How a sequence is cut into the rows of ranks that share it: by flat token position, wherever
// documents begin and end. Documents are [starts[i], starts[i+1]), with starts 0, ..., T.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/choices.h"
#include "config/mesh_spec.h"

namespace trireme::layout {

// Bounds 0, ..., `tokens` of `parts` contiguous runs; the longest has at most one token more than
// the shortest.
std::vector<int64_t> even_cut(int64_t tokens, int64_t parts);

// [first, end)
struct Range {
  int64_t first = 0;
  int64_t end = 0;

  int64_t size() const { return end - first; }
  bool operator==(const Range&) const = default;
};

// A rank's rows of the sequence, as ascending ranges of flat positions. No range is empty, and none
// touches the next.
using Rows = std::vector<Range>;

int64_t size(const Rows& rows);
// The rows that `part` selects when a rank's rows are counted from 0.
Rows slice(const Rows& rows, Range part);
// The rows at positions before `end`.
Rows before(const Rows& rows, int64_t end);

struct Dealt {
  std::vector<Rows> rows;  // per rank; numbers of rows differ by at most one a chunk
  // With kBalanced: why the largest area of a rank is more than kEven times the mean. Empty if it
  // is not.
  std::string uneven;
};
constexpr double kEven = 1.05;

// A pure function of its arguments, so that every rank gets the same result.
Dealt deal(const std::vector<int64_t>& starts, int64_t ranks, config::RingOrder order);

// The place of one rank among `size`.
struct Seat {
  int64_t index = 0;
  int64_t size = 1;
};

// What one of ring x ulysses ranks has of a sequence: the ring deals the sequence's rows; those of
// one of its ranks are cut evenly between the ranks that exchange heads (Ulysses).
struct Share {
  Dealt ring;
  std::vector<int64_t> bounds;  // of the rows of this rank's place in the ring
  Rows rows;                    // this rank's
};
Share share(const std::vector<int64_t>& starts, Seat ring, Seat ulysses, config::RingOrder order);

// The most rows that deal() gives a rank of `tokens`, whatever the documents.
int64_t most_rows(int64_t tokens, int64_t ranks);
// The most rows of `tokens` that share() gives a rank of the mesh.
int64_t most_rows(const config::MeshSpec& mesh, int64_t tokens);

// The largest attention area of a rank divided by the mean.
double imbalance(const std::vector<int64_t>& starts, const std::vector<Rows>& rows);

}  // namespace trireme::layout
