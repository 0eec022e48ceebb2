// Mixture of SwiGLU experts as transformers' Qwen3MoeSparseMoeBlock: softmax over all experts in
// fp32, top-k, optionally renormalised, weighted sum of the chosen experts. Pairs (token, expert)
// are sorted by expert, so that each expert's rows are one slice.
#pragma once

#include "model/mlp.h"

namespace trireme::model {

// y = h + experts(rmsnorm(h)); h [S,C]. `saved` may be null. If it has a routing already, the
// tokens go to the same experts again.
at::Tensor moe_forward(const config::ModelSpec& spec, const at::Tensor& h,
                       const LayerParams& weights, const Pass& pass, bool keep, SavedMlp* saved);

// dy [S,C] -> dh (residual included), in dy's storage.
at::Tensor moe_backward(const config::ModelSpec& spec, at::Tensor dy, const at::Tensor& h,
                        const LayerParams& weights, LayerParams& grads, const Pass& pass,
                        SavedMlp saved);

}  // namespace trireme::model
