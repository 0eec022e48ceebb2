// AdamW on the CPU, behind the checks of adamw.cc.
#pragma once

#include "ops/kernels.h"

namespace trireme::ops::cpu {

// As cuda::adamw, with all pointers on the host. `scale`: what gradients are multiplied with, in
// place of the divisor.
void adamw(const cuda::AdamW& p, float scale);

}  // namespace trireme::ops::cpu
