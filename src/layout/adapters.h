// LoRA adapters of a model: their layout, in blocks as the base model's, so that stores, gradients
// and the optimizer treat them alike.
//
// A block holds, in PEFT's names without "base_model.model." ("model.layers.0.self_attn.q_proj.
// lora_A.weight"): of each fused matrix first the A of its parts as neighbours (one product reads
// them all), then the B of each part. Experts are kept a module each, so that all of a layer's are
// A [E, parts r, in] and B [E, rows, r].
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/lora_spec.h"
#include "config/model_spec.h"
#include "layout/parameters.h"

namespace trireme::layout {

struct Adapters {
  config::LoraSpec lora;  // target_modules: what was found; "all-linear" is spelt out
  ModelLayout layout;     // blocks.size() == the base's; embedding and head blocks are empty
};

// Names of the linears that can have an adapter, without ".weight": all but lm_head and the router.
std::vector<std::string> layer_linears(const config::ModelSpec& spec, int64_t layer);

// A target names a linear whole ("model.layers.0.self_attn.q_proj") or by its end ("q_proj",
// "self_attn.q_proj"), as in PEFT. UserError: r < 1; a target that names no linear of this model
// (nearest names are suggested), or some of a layer's experts only.
Adapters make_adapters(const config::ModelSpec& spec, const config::LoraSpec& lora);

}  // namespace trireme::layout
