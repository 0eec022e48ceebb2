#include "ops/rope.h"

namespace trireme::ops {

std::pair<at::Tensor, at::Tensor> rope_table(const at::Tensor& positions,
                                             const at::Tensor& inverse_frequencies, double scale) {
  // fp32 products, as the models were trained with.
  const at::Tensor angles =
      positions.to(at::kFloat).unsqueeze(1) * inverse_frequencies.to(positions.device());
  if (scale == 1) return {angles.cos(), angles.sin()};
  return {angles.cos().mul_(scale), angles.sin().mul_(scale)};
}

}  // namespace trireme::ops
