// SwiGLU (Shazeer 2020): a = silu(gate) * up, with gate and up side by side in one matrix.
#pragma once

#include <ATen/core/Tensor.h>

namespace trireme::ops {

// gate_up [N,2F] contiguous -> a [N,F], in its dtype; or into `out`, whose rows may be strided.
at::Tensor swiglu(const at::Tensor& gate_up);
void swiglu(const at::Tensor& gate_up, at::Tensor out);

// A weight that multiplies each row of `a` afterwards: the experts' routing.
struct RowWeights {
  at::Tensor weight;   // [N] fp32
  at::Tensor dweight;  // [N] fp32, written: sum over the row of da * a
};

// da [N,F], gate_up [N,2F] -> d_gate_up [N,2F]. When `a` is given it receives the forward's output
// [N,F], unweighted, computed on the way (the backward of the down projection needs it). With
// `rows`, da is the gradient at weight * a: d_gate_up is from da * weight.
at::Tensor swiglu_backward(const at::Tensor& da, const at::Tensor& gate_up, at::Tensor* a = nullptr,
                           const RowWeights* rows = nullptr);

}  // namespace trireme::ops
