// Products of row groups with a matrix each: the experts of a mixture. Rows are sorted by group.
#pragma once

#include <ATen/core/Tensor.h>

namespace trireme::ops {

// Where each group's rows end. CPU: int64 offsets on the host. CUDA: int32 on the device, so that
// nothing waits for it. counts [E] int64 on the compute device -> end offsets as that device's
// grouped products want them.
at::Tensor group_ends(const at::Tensor& counts);

// x [N,in] with w [E,out,in] -> [N,out].
at::Tensor grouped_linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& ends);
// dy [N,out] with w [E,out,in] -> dx [N,in].
at::Tensor grouped_linear_backward(const at::Tensor& dy, const at::Tensor& w,
                                   const at::Tensor& ends);
// dw fp32 [E,out,in] += scale * (per group dy^T x). On CUDA each group's product is rounded to the
// inputs' dtype before it is added: the library's grouped product has no fp32 output.
void accumulate_grouped_weight_grad(at::Tensor& dw, const at::Tensor& dy, const at::Tensor& x,
                                    const at::Tensor& ends, double scale = 1);

}  // namespace trireme::ops
