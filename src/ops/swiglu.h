// SwiGLU (Shazeer 2020): a = silu(gate) * up, with gate and up side by side in one matrix.
#pragma once

#include <ATen/core/Tensor.h>

namespace trireme::ops {

// gate_up [N,2F] -> a [N,F], in its dtype.
at::Tensor swiglu(const at::Tensor& gate_up);

// da [N,F], gate_up [N,2F] -> d_gate_up [N,2F]. When `a` is given it receives the forward's output
// [N,F], computed on the way (the backward of the down projection needs it).
at::Tensor swiglu_backward(const at::Tensor& da, const at::Tensor& gate_up,
                           at::Tensor* a = nullptr);

}  // namespace trireme::ops
