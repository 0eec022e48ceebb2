#include "layout/parameters.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace trireme::layout {
namespace {

// Tensors that begin a fused matrix start at multiples of this many elements: 16-byte loads of any
// dtype.
constexpr int64_t kAlignment = 64;

}  // namespace

std::vector<int64_t> ParamInfo::global_shape() const {
  std::vector<int64_t> global = shape;
  if (slice.whole > 0) global[slice.dim] = slice.whole;
  return global;
}

BlockLayout place(std::vector<NamedShape> tensors) {
  std::stable_partition(tensors.begin(), tensors.end(),
                        [](const NamedShape& t) { return t.decays; });
  BlockLayout block;
  for (const NamedShape& tensor : tensors) {
    if (!tensor.joins_previous)
      block.numel = (block.numel + kAlignment - 1) / kAlignment * kAlignment;
    const int64_t numel =
        std::accumulate(tensor.shape.begin(), tensor.shape.end(), int64_t{1}, std::multiplies<>());
    block.params.push_back({tensor.name, tensor.shape, block.numel, numel});
    block.numel += numel;
    if (tensor.decays) block.decayed = block.numel;
  }
  return block;
}

int64_t ModelLayout::numel() const {
  return std::accumulate(blocks.begin(), blocks.end(), int64_t{0},
                         [](int64_t sum, const BlockLayout& b) { return sum + b.numel; });
}

ModelLayout make_layout(const config::ModelSpec& spec) {
  ModelLayout layout;
  layout.blocks.push_back(place({embedding_tensor(spec)}));
  for (int64_t i = 0; i < spec.layers; ++i) layout.blocks.push_back(place(layer_tensors(spec, i)));
  layout.blocks.push_back(place(head_tensors(spec)));
  return layout;
}

}  // namespace trireme::layout
