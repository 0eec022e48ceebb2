// What a Hugging Face config.json says about a decoder, in the letters of ARCHITECTURE.md, under
// old and transformers-v5 keys alike.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/json.h"
#include "config/quantization.h"

namespace trireme::config {

enum class Family { kLlama, kQwen2, kQwen3, kQwen3Moe };

// Frequencies scaled as Llama 3.1 does (transformers modeling_rope_utils: llama3).
struct Llama3RopeScaling {
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  int64_t original_max_position_embeddings = 8192;
};

struct MoeSpec {
  int64_t experts = 0;            // E
  int64_t experts_per_token = 0;  // top-k
  int64_t intermediate = 0;       // width of an expert
  bool norm_topk_prob = false;
  // Factor of the loss that balances the experts, where output_router_logits adds that loss.
  std::optional<double> balance_coefficient;
};

struct ModelSpec {
  Family family = Family::kLlama;
  std::string architecture;  // "Qwen3MoeForCausalLM"
  int64_t hidden = 0;        // C
  int64_t layers = 0;        // L
  int64_t heads = 0;         // H
  int64_t kv_heads = 0;      // K
  int64_t head_dim = 0;      // D
  int64_t intermediate = 0;  // F of dense layers
  int64_t vocab = 0;         // V
  int64_t max_position = 0;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000;
  std::optional<Llama3RopeScaling> rope_scaling;
  bool qkv_bias = false;
  bool o_bias = false;  // llama's attention_bias covers o_proj too
  bool mlp_bias = false;
  bool qk_norm = false;
  bool tied = false;  // lm_head is embed_tokens
  std::optional<MoeSpec> moe;
  std::vector<bool> sparse_layers;  // per layer: experts instead of a dense MLP
  std::vector<int64_t> eos_ids;
  // The row of the embedding that gets no gradient from the tokens of a text: pad_token_id.
  std::optional<int64_t> padding_row;
  std::string dtype = "float32";  // of the checkpoint: float32 | bfloat16 | float16
  std::optional<Fp8Blocks> fp8;   // linears are stored in float8, which is not written
  Json raw;                       // the file as it is written back with the output

  int64_t q_dim() const { return heads * head_dim; }
  int64_t kv_dim() const { return kv_heads * head_dim; }
  bool sparse(int64_t layer) const { return moe && sparse_layers[layer]; }
  // Whether a loss that balances the experts is part of the loss.
  bool balanced() const { return moe && moe->balance_coefficient; }
};

const char* family_name(Family family);

// Reads folder/config.json. Unknown architectures, rope types, sliding windows in use, activations
// other than SiLU and impossible sizes are refused by name (UserError).
ModelSpec read_model_spec(const std::string& folder);
ModelSpec parse_model_spec(const Json& json, const std::string& name);

}  // namespace trireme::config
