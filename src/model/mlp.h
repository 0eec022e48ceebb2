// The feed-forward half of a layer: SwiGLU MLP or a mixture of SwiGLU experts, tiled along S.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "config/model_spec.h"
#include "model/params.h"
#include "model/router_balance.h"
#include "ops/routing.h"
#include "plan/execution.h"

namespace trireme::model {

// What a pass over a layer's rows needs beside the weights.
struct Pass {
  plan::Tiles tiles;
  LoraPass lora;
  RouterBalance* balance = nullptr;  // of the experts; null: no loss balances them
  int64_t layer = 0;
};

// body(first row, rows) for each tile of `rows` rows.
template <typename Body>
void for_each_tile(int64_t rows, int64_t tile, const Body& body) {
  for (int64_t first = 0; first < rows; first += tile) body(first, std::min(tile, rows - first));
}

struct SavedMlp {
  at::Tensor gate_up;                      // dense: [S, 2F]; undefined when recomputed
  std::vector<ops::Routing> routing;       // experts: of each tile; a recomputed top-k could flip
  std::vector<at::Tensor> expert_gate_up;  // experts: [rows k, 2F] of each tile, or empty
};

// y = h + mlp(rmsnorm(h)); h [S,C]. `saved` may be null.
at::Tensor mlp_forward(const config::ModelSpec& spec, const at::Tensor& h,
                       const LayerParams& weights, const Pass& pass, bool keep, SavedMlp* saved);
// dy [S,C] -> dh (residual included), in dy's storage.
at::Tensor mlp_backward(const config::ModelSpec& spec, at::Tensor dy, const at::Tensor& h,
                        const LayerParams& weights, LayerParams& grads, const Pass& pass,
                        SavedMlp saved);

}  // namespace trireme::model
