#include "engine/stores.h"

#include <ATen/ops/zeros.h>

namespace trireme::engine {
namespace {

// Zeros, so that the gaps between tensors hold numbers: the optimizer passes over whole buffers.
std::vector<at::Tensor> allocate(const model::ModelLayout& layout, at::ScalarType dtype,
                                 const at::Device& device) {
  std::vector<at::Tensor> blocks;
  for (const model::BlockLayout& block : layout.blocks) {
    blocks.push_back(at::zeros({block.numel}, at::TensorOptions(dtype).device(device)));
  }
  return blocks;
}

}  // namespace

ResidentParams::ResidentParams(const model::ModelLayout& layout, at::ScalarType dtype,
                               const at::Device& device)
    : blocks_(allocate(layout, dtype, device)) {}

ResidentGrads::ResidentGrads(const model::ModelLayout& layout, const at::Device& device)
    : blocks_(allocate(layout, at::kFloat, device)) {}

void ResidentGrads::zero() {
  for (at::Tensor& block : blocks_) block.zero_();
}

}  // namespace trireme::engine
