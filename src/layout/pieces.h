// Pieces of tensors that different ranks hold, in coordinates that all of them share: a checkpoint
// of one topology is read on another by them.
#pragma once

#include <cstdint>
#include <vector>

#include "layout/parameters.h"

namespace trireme::layout {

// Elements [first, first + count), in row-major order, of the part of a tensor that `runs` says.
struct Piece {
  Runs runs;
  int64_t first = 0, count = 0;
};

// Elements that two pieces share: `count` neighbours, at `to` of one and at `from` of the other,
// each counted from the piece's own first element.
struct Overlap {
  int64_t to = 0, from = 0, count = 0;

  bool operator==(const Overlap&) const = default;
};

// In ascending order of `wanted`. Both are of the same tensor. Where neither is cut, at most one.
std::vector<Overlap> overlaps(const Piece& wanted, const Piece& stored);

}  // namespace trireme::layout
