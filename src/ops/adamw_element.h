// AdamW of one element, the same bits on CPU and CUDA: every sum is an explicit fused
// multiply-add, so that no compiler chooses which product is rounded.
#pragma once

#include <cmath>

#include "ops/counter_bits.h"

namespace trireme::ops {

// torch.optim.AdamW's order of operations, with the constants folded.
struct AdamWConstants {
  float keep, beta1, beta2, one_minus_beta1, one_minus_beta2, step_size, root_correction, epsilon;
};

TRIREME_HOST_DEVICE inline void adamw_element(const AdamWConstants& c, float grad, float& param,
                                              float& mean, float& square) {
  mean = fmaf(mean, c.beta1, grad * c.one_minus_beta1);
  square = fmaf(square, c.beta2, grad * grad * c.one_minus_beta2);
  const float root = fmaf(sqrtf(square), c.root_correction, c.epsilon);
  param = fmaf(param, c.keep, -(c.step_size * mean / root));
}

}  // namespace trireme::ops
