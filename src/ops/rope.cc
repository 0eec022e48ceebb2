#include "ops/rope.h"

namespace trireme::ops {

std::pair<at::Tensor, at::Tensor> rope_table(const at::Tensor& positions,
                                             const at::Tensor& inverse_frequencies) {
  // fp32 products, as the models were trained with.
  const at::Tensor angles = positions.to(at::kFloat).unsqueeze(1) *
                            inverse_frequencies.to(positions.device()).unsqueeze(0);
  return {angles.cos(), angles.sin()};
}

}  // namespace trireme::ops
