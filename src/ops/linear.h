// Matrix products with weights in Hugging Face's [out, in] orientation, and the accumulation of
// weight gradients in fp32.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace trireme::ops {

// x [N,in], w [out,in], optional bias [out] -> [N,out], or into `out`, whose rows may be strided.
at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias = {});
void linear_out(at::Tensor out, const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias);
// out = base + x w^T (+ bias); out [N,out] may be a slice and may be base.
void linear_add(at::Tensor out, const at::Tensor& base, const at::Tensor& x, const at::Tensor& w,
                const at::Tensor& bias = {});
// The product in fp32 whatever the inputs' dtype: logits.
at::Tensor linear_fp32(const at::Tensor& x, const at::Tensor& w);

// a [M,K] b [K,N] -> [M,N], and out (+)= scale * a b; rows may be strided, b may be a transposed
// view. On CPU a and b are fp32, on CUDA fp32 or bf16, and `out` may be fp32 whatever they are.
at::Tensor matmul(const at::Tensor& a, const at::Tensor& b);
void product(at::Tensor out, const at::Tensor& a, const at::Tensor& b, double scale = 1);
void add_product(at::Tensor out, const at::Tensor& a, const at::Tensor& b, double scale = 1);

// dw fp32 [out,in] += scale * dy^T x, summed in fp32, or = with `overwrite`; dbias fp32 [out] +=
// scale * the sum of rows.
void accumulate_weight_grad(at::Tensor& dw, const at::Tensor& dy, const at::Tensor& x,
                            double scale = 1, bool overwrite = false);
void accumulate_bias_grad(at::Tensor& dbias, const at::Tensor& dy, double scale = 1);

// Rows of `weight` [V,C] at tokens [S] -> [S,C]; and its adjoint: dweight fp32 [V,C] gets dy's rows
// added, but for those of the token `without`.
at::Tensor embedding(const at::Tensor& weight, const at::Tensor& tokens);
void accumulate_embedding_grad(at::Tensor& dweight, const at::Tensor& dy, const at::Tensor& tokens,
                               std::optional<int64_t> without = {});

}  // namespace trireme::ops
