#include "layout/pieces.h"

#include <algorithm>

namespace trireme::layout {
namespace {

// The element of the whole tensor at this element of a part.
int64_t whole_element(const Runs& runs, int64_t element) {
  return runs.first + element / runs.size * runs.stride + element % runs.size;
}

// Where a part has neighbours of the whole tensor, from an element of the whole on.
struct Stretch {
  int64_t element = 0;  // of the part
  int64_t skipped = 0;  // elements of the whole before the first that the part has
  int64_t count = 0;    // neighbours from there on; 0: the part has no more
};

Stretch stretch_at(const Runs& runs, int64_t whole) {
  const int64_t behind = std::max<int64_t>(whole - runs.first, 0);
  const int64_t skipped = std::max<int64_t>(runs.first - whole, 0);
  int64_t run = behind / runs.stride, offset = behind % runs.stride;
  int64_t gap = 0;
  if (offset >= runs.size) {
    gap = runs.stride - offset;
    ++run, offset = 0;
  }
  if (run >= runs.count) return {};
  return {run * runs.size + offset, skipped + gap, runs.size - offset};
}

}  // namespace

std::vector<Overlap> overlaps(const Piece& wanted, const Piece& stored) {
  std::vector<Overlap> list;
  if (wanted.count == 0 || stored.count == 0) return list;
  int64_t element = wanted.first;
  const int64_t end = wanted.first + wanted.count;
  while (element < end) {
    // Neighbours of the wanted piece, and the first of the stored part among or behind them.
    const int64_t run = std::min(end - element, wanted.runs.size - element % wanted.runs.size);
    const Stretch stretch = stretch_at(stored.runs, whole_element(wanted.runs, element));
    if (stretch.count == 0) break;
    if (stretch.skipped >= run) {
      element += run;
      continue;
    }
    const int64_t count = std::min(run - stretch.skipped, stretch.count);
    // What of it lies within the stored piece.
    const int64_t from = std::max(stretch.element, stored.first);
    const int64_t last = std::min(stretch.element + count, stored.first + stored.count);
    if (last > from) {
      const int64_t to = element + stretch.skipped + (from - stretch.element);
      list.push_back({to - wanted.first, from - stored.first, last - from});
    }
    if (stretch.element >= stored.first + stored.count) break;
    element += stretch.skipped + count;
  }
  return list;
}

}  // namespace trireme::layout
