#include "engine/rank_batch.h"

#include <algorithm>
#include <iterator>

#include "attention/ranks.h"
#include "ops/to_device.h"

namespace trireme::engine {
namespace {

using config::Axis;
using layout::Range;
using layout::Rows;

std::vector<int64_t> of_rows(const std::vector<int64_t>& list, const Rows& rows) {
  std::vector<int64_t> mine;
  mine.reserve(layout::size(rows));
  for (const Range& range : rows) {
    mine.insert(mine.end(), list.begin() + range.first, list.begin() + range.end);
  }
  return mine;
}

// Positions restart at each document.
std::vector<int64_t> positions(const std::vector<int64_t>& starts, const Rows& rows) {
  std::vector<int64_t> list;
  list.reserve(layout::size(rows));
  for (const Range& range : rows) {
    auto next = std::ranges::upper_bound(starts, range.first);
    for (int64_t i = range.first; i < range.end; ++i) {
      while (*next <= i) ++next;
      list.push_back(i - *std::prev(next));
    }
  }
  return list;
}

model::TrainedRows trained_rows(const std::vector<int64_t>& targets, const at::Device& device) {
  std::vector<int64_t> rows, trained;
  for (int64_t i = 0; i < std::ssize(targets); ++i) {
    if (targets[i] < 0) continue;
    rows.push_back(i);
    trained.push_back(targets[i]);
  }
  return {ops::to_device(rows, device), ops::to_device(trained, device)};
}

}  // namespace

RankBatch rank_batch(const data::PackedBatch& batch, const dist::Mesh& mesh,
                     config::RingOrder order, const at::Device& device, double scale) {
  const std::vector<int64_t>& starts = batch.document_starts;
  const dist::Group &ring = mesh.group(Axis::kRing), &ulysses = mesh.group(Axis::kUlysses);
  layout::Share share =
      layout::share(starts, {ring.index(), ring.size()}, {ulysses.index(), ulysses.size()}, order);
  RankBatch mine;
  mine.tokens = ops::to_device(of_rows(batch.tokens, share.rows), device);
  mine.positions = ops::to_device(positions(starts, share.rows), device);
  mine.trained = trained_rows(of_rows(batch.targets, share.rows), device);
  mine.attention = attention::of_ranks(starts, share, ring, ulysses, device, scale);
  mine.rows = std::move(share.rows);
  mine.uneven = std::move(share.ring.uneven);
  return mine;
}

std::vector<int64_t> document_lengths(const std::vector<int64_t>& starts, const Rows& rows) {
  std::vector<int64_t> list;
  list.reserve(layout::size(rows));
  const auto last = std::prev(starts.end());
  for (const Range& range : rows) {
    auto next = std::min(std::ranges::upper_bound(starts, range.first), last);
    for (int64_t i = range.first; i < range.end; ++i) {
      while (next != last && *next <= i) ++next;
      list.push_back(*next - *std::prev(next));
    }
  }
  return list;
}

}  // namespace trireme::engine
