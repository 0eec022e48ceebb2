// LoRA adapters of a model: their layout (blocks as the base model's, so that stores, gradients and
// the optimizer treat them alike), and the views that a layer computes with.
//
// A block holds, in PEFT's names without "base_model.model.": of each fused matrix first the A of
// its parts as neighbours (one product reads them all), then the B of each part. Experts are kept a
// module each: A [E, parts r, in], B [E, rows, r].
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "config/lora_spec.h"
#include "config/model_spec.h"
#include "model/layout.h"

namespace trireme::model {

// The adapter of one fused matrix [out, in] (qkv, o, gate_up, down) or of one per expert
// [E, out, in]. Views of a flat block of weights or gradients. No parts: nothing is adapted.
struct LinearAdapter {
  struct Part {
    int64_t first_row = 0;   // of the fused matrix's outputs
    int64_t rows = 0;        // outputs of this part
    int64_t first_rank = 0;  // row of `a` where this part's r rows begin
    at::Tensor b;            // [rows, r], or [E, rows, r]
  };
  at::Tensor a;  // [parts r, in], or [E, parts r, in]
  std::vector<Part> parts;

  bool present() const { return !parts.empty(); }
};

struct LayerAdapters {
  LinearAdapter qkv, o, gate_up, down;         // attention and dense MLP
  LinearAdapter expert_gate_up, expert_down;   // experts
};

struct Adapters {
  config::LoraSpec lora;
  ModelLayout layout;  // blocks.size() == the base's; embedding and head blocks are empty
};

// UserError: r < 1; a target that names no linear of this model (nearest names are suggested).
Adapters make_adapters(const config::ModelSpec& spec, const config::LoraSpec& lora);

// Views of the flat adapter block of layer `layer`.
LayerAdapters layer_adapters(const config::ModelSpec& spec, const Adapters& adapters,
                             int64_t layer, const at::Tensor& flat);

}  // namespace trireme::model
