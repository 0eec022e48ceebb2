#include "plan/visits.h"

#include <algorithm>
#include <numeric>

namespace trireme::plan {

BlockBuffers::BlockBuffers(const layout::ModelLayout& layout, const layout::Sharding& sharding,
                           bool apart)
    : head_(layout.head()) {
  const int64_t layer = sharding.padded(widest_layer(layout)),
                embedding = sharding.padded(layout.blocks.front().numel),
                head = sharding.padded(layout.blocks.back().numel);
  sizes = apart ? std::vector{layer, layer, embedding, head}
                : std::vector{layer, layer, std::max(embedding, head)};
}

size_t BlockBuffers::of(int64_t block) const {
  if (block == layout::ModelLayout::embedding()) return kLayers;
  return block == head_ ? sizes.size() - 1 : static_cast<size_t>(block) % kLayers;
}

std::vector<int64_t> VisitOrder::want(int64_t block) {
  std::vector<int64_t> wanted = {block};
  if (buffers_.is_layer(block)) {
    const int64_t next = block >= last_ ? block + 1 : block - 1;
    if (buffers_.is_layer(next)) wanted.push_back(next);
    last_ = block;
  }
  std::erase_if(wanted, [&](int64_t b) { return there_[buffers_.of(b)] == b; });
  for (const int64_t b : wanted) there_[buffers_.of(b)] = b;
  return wanted;
}

int64_t widest_layer(const layout::ModelLayout& layout) {
  int64_t most = 0;
  for (int64_t i = 0; i < layout.layers(); ++i) {
    most = std::max(most, layout.blocks[layout.layer(i)].numel);
  }
  return most;
}

int64_t visiting_elements(const layout::ModelLayout& layout, bool tied, bool layers_on_host,
                          const layout::Sharding& sharding) {
  const std::vector<int64_t> sizes = BlockBuffers(layout, sharding, tied).sizes;
  const auto end = sharding.weights() ? sizes.end() : sizes.begin() + BlockBuffers::kLayers;
  int64_t elements = 0;
  if (sharding.weights() || layers_on_host) {
    elements = std::accumulate(sizes.begin(), end, elements);
  }
  if (sharding.weights() && layers_on_host) {
    elements += BlockBuffers::kLayers * sharding.shard(widest_layer(layout)).size;
  }
  return elements;
}

}  // namespace trireme::plan
