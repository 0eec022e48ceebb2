#include "plan/state_bytes.h"

#include <algorithm>

#include "base/host_memory.h"

namespace trireme::plan {
namespace {

// Bytes of an arena that both moments of a range take.
int64_t moment_slots(const StateRange& range, MomentFormat format) {
  return 2 * (slot_bytes(moment_numbers_bytes(range.count, format)) +
              slot_bytes(moment_scales_bytes(range.count, format)));
}

}  // namespace

std::vector<StateRange> state_ranges(const layout::ModelLayout& layout,
                                     const layout::Sharding& sharding) {
  std::vector<StateRange> list;
  for (size_t b = 0; b < layout.blocks.size(); ++b) {
    const layout::BlockLayout& block = layout.blocks[b];
    const layout::Shard shard = sharding.shard(block.numel);
    const int64_t end = shard.first + shard.count;
    const int64_t middle = std::clamp(block.decayed, shard.first, end);
    const auto add = [&](int64_t first, int64_t last, bool decays) {
      if (last > first) list.push_back({b, first, first - shard.first, last - first, decays});
    };
    add(shard.first, middle, true);
    add(middle, end, false);
  }
  return list;
}

int64_t state_moment_bytes(const layout::ModelLayout& layout, MomentFormat format,
                           const layout::Sharding& sharding) {
  int64_t bytes = 0;
  for (const StateRange& range : state_ranges(layout, sharding)) {
    bytes += moment_bytes(range.count, format);
  }
  return bytes;
}

int64_t state_arena_bytes(const layout::ModelLayout& layout, bool master, MomentFormat format,
                          const layout::Sharding& sharding) {
  int64_t bytes = 0;
  for (const layout::BlockLayout& block : layout.blocks) {
    if (master) bytes += slot_bytes(4 * sharding.shard(block.numel).size);
  }
  for (const StateRange& range : state_ranges(layout, sharding)) {
    bytes += moment_slots(range, format);
  }
  return bytes;
}

int64_t snapshot_bytes(const layout::ModelLayout& layout, int64_t weight, MomentFormat format,
                       int64_t file, const layout::Sharding& sharding) {
  int64_t bytes = 0;
  for (const StateRange& range : state_ranges(layout, sharding)) {
    bytes += slot_bytes(weight * range.count) + moment_slots(range, format);
  }
  for (const layout::BlockLayout& block : layout.blocks) bytes += slot_bytes(file * block.numel);
  return bytes;
}

int64_t stream_device_bytes(bool master, MomentFormat moments) {
  return 2 * (moment_bytes(kStreamPiece, moments) + (master ? 4 * kStreamPiece : 0));
}

int64_t host_pieces_bytes(NumberFormat weights, bool grads) {
  return kHostSlots * (slot_bytes(kHostPiece * bytes_of(weights)) + slot_bytes(4) +
                       (grads ? slot_bytes(kHostPiece * 4) : 0));
}

int64_t host_grads_bytes(const layout::ModelLayout& layout, const layout::Sharding& sharding) {
  int64_t bytes = 0;
  for (const layout::BlockLayout& block : layout.blocks) {
    bytes += slot_bytes(4 * sharding.shard(block.numel).size);
  }
  return bytes;
}

}  // namespace trireme::plan
