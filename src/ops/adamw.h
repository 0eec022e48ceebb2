// AdamW (Loshchilov and Hutter 2019) on flat fp32 buffers, and the gradient's norm.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace trireme::ops {

struct AdamWStep {
  double learning_rate = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  int64_t step = 1;  // of this update, from 1: bias correction
};

// One pass over param, grad, m, v: fp32, contiguous, of equal size. The gradient is divided by
// `divisor` (0-dim fp32 on the same device) first. `weight`, when defined, is the copy of param
// that the forward reads (bf16, of equal size): written in the same pass.
void adamw_(at::Tensor param, const at::Tensor& grad, at::Tensor m, at::Tensor v,
            const AdamWStep& step, const at::Tensor& divisor, at::Tensor weight = {});

// Sum of squares of a flat fp32 buffer as a 0-dim fp64 tensor on its device; the same bits for any
// number of threads.
at::Tensor sum_of_squares(const at::Tensor& flat);

}  // namespace trireme::ops
