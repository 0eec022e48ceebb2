// The tensors of a block of the layout as kernels read them: views of its flat buffer.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "config/model_spec.h"
#include "layout/parameters.h"
#include "model/linear.h"

namespace trireme::model {

// The tensor `info` inside its block's flat buffer.
at::Tensor param_view(const at::Tensor& flat, const layout::ParamInfo& info);

// Zeroes what lies between the tensors that begin before `end`, and all from there on: the
// optimizer passes over whole buffers.
void zero_gaps(const layout::BlockLayout& block, int64_t end, const at::Tensor& flat);

// A layer's tensors as the kernels read them; views of one flat buffer (weights or gradients). A
// tensor is undefined where the layer has none and, in gradients, where the weight is frozen.
struct LayerParams {
  at::Tensor input_norm;      // [C]
  Linear qkv;                 // [(H+2K)D, C]
  at::Tensor q_norm, k_norm;  // [D]
  Linear o;                   // [C, H D]
  at::Tensor post_norm;       // [C]
  Linear gate_up;             // [2F, C]
  Linear down;                // [C, F]
  at::Tensor router;          // [E, C]
  Linear expert_gate_up;      // [E, 2F, C]
  Linear expert_down;         // [E, C, F]
};
// Marks the matrices of a dense layer's gradients as empty, so that the first product overwrites
// them.
void mark_overwrite(LayerParams& grads);

LayerParams layer_params(const config::ModelSpec& spec, const layout::ModelLayout& layout,
                         int64_t layer, const at::Tensor& flat);

struct HeadParams {
  at::Tensor norm;         // [C]
  at::Tensor head;         // [V, C]; the embedding's when tied
  bool overwrite = false;  // in gradients: the head's holds nothing yet
};
HeadParams head_params(const config::ModelSpec& spec, const layout::ModelLayout& layout,
                       const at::Tensor& embed_flat, const at::Tensor& head_flat);

}  // namespace trireme::model
