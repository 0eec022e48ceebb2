#include "layout/parameters.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace trireme::layout {
namespace {

// Tensors that begin a fused matrix start at multiples of this many elements: 16-byte loads of any
// dtype.
constexpr int64_t kAlignment = 64;

int64_t product(const std::vector<int64_t>& sizes, size_t first, size_t end) {
  const auto begin = sizes.begin();
  return std::accumulate(begin + static_cast<std::ptrdiff_t>(first),
                         begin + static_cast<std::ptrdiff_t>(end), int64_t{1}, std::multiplies<>());
}

}  // namespace

std::vector<int64_t> ParamInfo::global_shape() const {
  std::vector<int64_t> global = shape;
  if (slice.whole > 0) global[slice.dim] = slice.whole;
  return global;
}

Runs ParamInfo::runs() const {
  if (slice.whole == 0) return {0, numel, numel, 1};
  const auto dim = static_cast<size_t>(slice.dim);
  const int64_t inner = product(shape, dim + 1, shape.size());
  return {slice.first * inner, shape[dim] * inner, slice.whole * inner, product(shape, 0, dim)};
}

BlockLayout place(std::vector<NamedShape> tensors) {
  std::stable_partition(tensors.begin(), tensors.end(),
                        [](const NamedShape& t) { return t.decays; });
  BlockLayout block;
  for (const NamedShape& tensor : tensors) {
    if (!tensor.joins_previous)
      block.numel = (block.numel + kAlignment - 1) / kAlignment * kAlignment;
    const int64_t numel = product(tensor.shape, 0, tensor.shape.size());
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
