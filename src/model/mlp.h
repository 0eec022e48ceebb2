// The feed-forward half of a layer: SwiGLU MLP tiled along S, or a mixture of SwiGLU experts.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "config/model_spec.h"
#include "model/layout.h"

namespace trireme::model {

// Rows of a tile along S. The same in forward and backward, so that recomputed tiles have the same
// bits.
struct Tiles {
  int64_t mlp = 4096;
  int64_t loss = 1024;
};

// Which experts each token went to; saved, because a recomputed top-k can flip.
struct Routing {
  at::Tensor experts;  // [S, k] int64
  at::Tensor weights;  // [S, k] fp32, as applied
  at::Tensor order;    // [S k] int64: token-expert pairs sorted by expert, stable
  at::Tensor counts;   // [E] tokens per expert, int64 on the host (CPU) or int32 end offsets on the
                       // device (CUDA)
};

struct SavedMlp {
  at::Tensor gate_up;  // [S, 2F] or [S k, 2F]; undefined when recomputed
  Routing routing;     // experts only
};

// y = h + mlp(rmsnorm(h)); h [S,C]. `saved` may be null.
at::Tensor mlp_forward(const config::ModelSpec& spec, const at::Tensor& h,
                       const LayerParams& weights, Tiles tiles, bool keep, SavedMlp* saved);
// dy [S,C] -> dh (residual included).
at::Tensor mlp_backward(const config::ModelSpec& spec, at::Tensor dy, const at::Tensor& h,
                        const LayerParams& weights, LayerParams& grads, Tiles tiles,
                        SavedMlp saved);

// The same for a layer of experts.
at::Tensor moe_forward(const config::ModelSpec& spec, const at::Tensor& h,
                       const LayerParams& weights, Tiles tiles, bool keep, SavedMlp* saved);
at::Tensor moe_backward(const config::ModelSpec& spec, at::Tensor dy, const at::Tensor& h,
                        const LayerParams& weights, LayerParams& grads, Tiles tiles,
                        SavedMlp saved);

}  // namespace trireme::model
