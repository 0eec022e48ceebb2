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
#include "model/linear.h"

namespace trireme::model {

struct Adapters {
  config::LoraSpec lora;
  ModelLayout layout;  // blocks.size() == the base's; embedding and head blocks are empty
};

// UserError: r < 1; a target that names no linear of this model (nearest names are suggested).
Adapters make_adapters(const config::ModelSpec& spec, const config::LoraSpec& lora);

// Puts views of layer `layer`'s flat adapter block (weights or gradients) beside the layer's
// weights.
void attach_adapters(LayerParams& params, const config::ModelSpec& spec, const Adapters& adapters,
                     int64_t layer, const at::Tensor& flat);

}  // namespace trireme::model
