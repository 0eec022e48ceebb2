// LoRA adapters of a model: their layout, in blocks as the base model's, so that stores, gradients
// and the optimizer treat them alike.
//
// A block holds, in PEFT's names without "base_model.model." ("model.layers.0.self_attn.q_proj.
// lora_A.weight"): of each fused matrix first the A of its parts as neighbours (one product reads
// them all), then the B of each part. Experts are kept a module each, so that all of a layer's are
// A [E, sum of the parts' ranks, in] and B [E, rows, r].
//
// A block also holds what is trained whole beside the adapters, under its Hugging Face name: the
// tensors of modules_to_save and trained biases; and the biases of B ("....lora_B.bias") and the
// magnitudes of DoRA ("....lora_magnitude_vector", [out]).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/lora_spec.h"
#include "config/model_spec.h"
#include "layout/adapter_targets.h"
#include "layout/parameters.h"

namespace trireme::layout {

struct Adapters {
  // Names and patterns are the fewest that mean the same: target_modules holds ends of names where
  // all such linears are adapted, else whole names, and no pattern says more.
  config::LoraSpec lora;
  AdapterSizes linears;
  ModelLayout layout;  // blocks.size() == the base's

  double scale(const std::string& linear) const;
  // Whether the block has a tensor that is trained.
  bool in_block(int64_t block) const { return layout.blocks[block].numel > 0; }
};

// Writes the sizes as rank_pattern and alpha_pattern beside the spec's own rank and alpha.
void set_patterns(config::LoraSpec& lora, const AdapterSizes& sizes);

// Adapters of these linears. `lora` says the rest. UserError: modules_to_save that name nothing
// that can be trained beside adapters; some of a layer's experts only, or experts of unlike sizes.
Adapters place_adapters(const config::ModelSpec& spec, const config::LoraSpec& lora,
                        AdapterSizes linears);

// New ones, of what `lora` targets. UserError also for a rank below 1, and a key of rank_pattern or
// alpha_pattern that names none of them.
Adapters make_adapters(const config::ModelSpec& spec, const config::LoraSpec& lora);

}  // namespace trireme::layout
