// AdamW (Loshchilov and Hutter 2019) on flat buffers, and the gradient's norm. Arithmetic is fp32;
// what is kept between updates may be less:
//
//   weights   fp32 (with a bf16 copy that the forward reads), or bf16 alone, rounded stochastically
//   moments   fp32, bf16 rounded stochastically, or 8 bits a number and one fp32 a 256 of them
//
// ops/stochastic_rounding.h and ops/eight_bit.h say how.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "base/number_format.h"

namespace trireme::ops {

struct AdamWStep {
  double learning_rate = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  int64_t step = 1;  // number of this update, from 1: for bias correction
  // For stochastic rounding: the seed of this update and buffer, and the position of the buffer's
  // element 0.
  uint64_t seed = 0;
  int64_t first = 0;
};

at::ScalarType moment_type(MomentFormat format);

// First and second moments of a flat buffer of n elements.
struct Moments {
  at::Tensor first, second;  // [n] fp32, bf16 or uint8
  // For uint8, the scales of blocks: [ceil(n / 256)] fp32.
  at::Tensor first_absmax = {}, second_absmax = {};
};
Moments zero_moments(int64_t numel, MomentFormat format, const at::Device& device);

// One pass over param (fp32 or bf16), grad (fp32) and moments: contiguous, of equal size. The
// gradient is divided by `divisor` (0-dim fp32 on the same device) first. If that is not finite,
// the update is skipped: param and moments keep their bits. `weight`, when defined, is the copy of
// an fp32 param that the forward reads (bf16): written in the same pass. The same bits on CPU and
// CUDA, and for any number of threads.
void adamw_(at::Tensor param, const at::Tensor& grad, const Moments& moments, const AdamWStep& step,
            const at::Tensor& divisor, at::Tensor weight = {});

// Sum of squares of a flat fp32 buffer as a 0-dim fp64 tensor on its device; the same bits for any
// number of threads.
at::Tensor sum_of_squares(const at::Tensor& flat);

}  // namespace trireme::ops
