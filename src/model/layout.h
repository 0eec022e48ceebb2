// Where every Hugging Face tensor of a model lives: blocks (embedding, each layer, head), each one
// flat buffer. Tensors that a GEMM reads together (q, k, v; gate, up; the experts) are neighbours,
// so that the fused matrix is a view. Weights, fp32 gradients, master weights and moments share
// this layout.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "config/model_spec.h"
#include "model/families.h"
#include "model/linear.h"

namespace trireme::model {

struct ParamInfo {
  std::string name;  // Hugging Face name
  std::vector<int64_t> shape;
  int64_t offset = 0;  // elements from the start of the block
  int64_t numel = 0;
};

struct BlockLayout {
  std::vector<ParamInfo> params;  // matrices first, then norms and biases
  int64_t numel = 0;
  int64_t decayed = 0;  // elements [0, decayed) take weight decay; norms and biases do not
};

struct ModelLayout {
  std::vector<BlockLayout>
      blocks;  // 0: embedding, 1..L: layers, L+1: final norm and head (unless tied)
  int64_t numel() const;
  int64_t head_block() const { return static_cast<int64_t>(blocks.size()) - 1; }
};

ModelLayout make_layout(const config::ModelSpec& spec);

// A block of these tensors, in this order but those that decay first; each begins at a multiple of
// 64 elements unless it joins the one before.
BlockLayout place(std::vector<NamedShape> tensors);

// The tensor `info` inside its block's flat buffer.
at::Tensor param_view(const at::Tensor& flat, const ParamInfo& info);

// A layer's tensors as the kernels read them; views of one flat buffer (weights or gradients).
// Undefined where absent; of gradients, where frozen.
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
// Says of a dense layer's gradients that its matrices hold nothing yet.
void mark_fresh(LayerParams& grads);

LayerParams layer_params(const config::ModelSpec& spec, const ModelLayout& layout, int64_t layer,
                         const at::Tensor& flat);

struct HeadParams {
  at::Tensor norm;     // [C]
  at::Tensor head;     // [V, C]; the embedding's when tied
  bool fresh = false;  // of gradients: the head's holds nothing yet, and is overwritten
};
HeadParams head_params(const config::ModelSpec& spec, const ModelLayout& layout,
                       const at::Tensor& embed_flat, const at::Tensor& head_flat);

}  // namespace trireme::model
