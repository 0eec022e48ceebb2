#include "layout/shards.h"

#include <algorithm>

namespace trireme::layout {
namespace {

// Blocks of 8-bit moments (256) and what kernels read at a time lie within one shard.
constexpr int64_t kGrain = 256;

int64_t shard_size(int64_t numel, int64_t ranks) {
  const int64_t grains = (numel + kGrain - 1) / kGrain;
  return (grains + ranks - 1) / ranks * kGrain;
}

}  // namespace

Shard Sharding::shard(int64_t numel) const {
  if (!states()) return {0, numel, numel};
  const int64_t size = shard_size(numel, ranks), first = std::min(numel, index * size);
  return {first, std::min(size, numel - first), size};
}

int64_t Sharding::padded(int64_t numel) const {
  return states() ? shard_size(numel, ranks) * ranks : numel;
}

}  // namespace trireme::layout
