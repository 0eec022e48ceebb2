// Bytes of the optimizer's state, and of what moves between it and the device: arithmetic on a
// layout and on number formats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/number_format.h"
#include "layout/parameters.h"
#include "layout/shards.h"

namespace trireme::plan {

// Elements [first, first + count) of a block, from `offset` on in this rank's shard, all of which
// take weight decay or none of which do. The optimizer keeps moments of each range apart.
struct StateRange {
  size_t block;
  int64_t first, offset, count;
  bool decays;
};
std::vector<StateRange> state_ranges(const layout::ModelLayout& layout,
                                     const layout::Sharding& sharding);

// Bytes of the arena in which a checkpoint waits for the disk: the state of this rank, and the
// whole model for its files. `weight`, `file`: bytes of a weight there.
int64_t snapshot_bytes(const layout::ModelLayout& layout, int64_t weight, MomentFormat format,
                       int64_t file, const layout::Sharding& sharding = {});

// Bytes of both moments of all that is trained, on this rank.
int64_t state_moment_bytes(const layout::ModelLayout& layout, MomentFormat format,
                           const layout::Sharding& sharding = {});
// Bytes of the arena of optimizer state on the host, with masters or without.
int64_t state_arena_bytes(const layout::ModelLayout& layout, bool master, MomentFormat format,
                          const layout::Sharding& sharding = {});

// The elements of a piece of --offload_optimizer stream: state passes through two such pieces of
// device memory. One is 192 MiB of fp32 masters and moments, or 4 ms of the link.
inline constexpr int64_t kStreamPiece = int64_t{16} << 20;
int64_t stream_device_bytes(bool master, MomentFormat moments);

// AdamW on the host takes gradients and returns weights in pieces of kHostPiece elements (1.2 ms of
// the link, 3.7 ms of AdamW on 16 cores). There are kHostSlots slots: one arrives, one is updated,
// one returns.
inline constexpr int64_t kHostPiece = int64_t{16} << 20;
inline constexpr int64_t kHostSlots = 3;
// Bytes of the arena of these slots; `grads`: gradients come from the device and pass through too.
int64_t host_pieces_bytes(NumberFormat weights, bool grads);

// Bytes of the arena of gradients on the host.
int64_t host_grads_bytes(const layout::ModelLayout& layout, const layout::Sharding& sharding);

}  // namespace trireme::plan
