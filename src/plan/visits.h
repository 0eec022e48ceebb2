// Blocks of weights or gradients that a rank does not hold whole: the buffers that they pass
// through, and the order in which they come.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "layout/parameters.h"
#include "layout/shards.h"

namespace trireme::plan {

// Buffers that blocks pass through in turn: two for layers, and one for the embedding and the head,
// or one for each of those if they are wanted at once.
struct BlockBuffers {
  static constexpr size_t kLayers = 2;  // the first ones
  // `apart`: the embedding and the head have one each.
  BlockBuffers(const layout::ModelLayout& layout, const layout::Sharding& sharding, bool apart);
  std::vector<int64_t> sizes;  // elements
  size_t of(int64_t block) const;
  bool is_layer(int64_t block) const {
    return block > layout::ModelLayout::embedding() && block < head_;
  }

 private:
  int64_t head_;
};

// Which blocks are fetched into their buffers when blocks are wanted one after the other. A layer's
// block is fetched while the previous layer computes. Prediction and execution both use this class.
class VisitOrder {
 public:
  explicit VisitOrder(const BlockBuffers& buffers)
      : buffers_(buffers), there_(buffers.sizes.size(), -1) {}
  // The blocks to fetch now, in this order: the wanted block unless it is there, and the next layer
  // if the order continues as before.
  std::vector<int64_t> want(int64_t block);
  // Marks all buffers as empty.
  void forget() { there_.assign(there_.size(), -1); }

 private:
  BlockBuffers buffers_;
  std::vector<int64_t> there_;  // the block in each buffer
  int64_t last_ = 0;            // layer that was wanted last
};

// Elements of the largest block of a layer.
int64_t widest_layer(const layout::ModelLayout& layout);

// Elements of device memory that visiting weights take. `tied`: the embedding is wanted beside the
// head. `layers_on_host`: the layers' weights come from host memory.
int64_t visiting_elements(const layout::ModelLayout& layout, bool tied, bool layers_on_host,
                          const layout::Sharding& sharding);

}  // namespace trireme::plan
