// What a Hugging Face config.json says about a decoder, in the letters of ARCHITECTURE.md, under
// old and transformers-v5 keys alike.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/json.h"
#include "config/quantization.h"
#include "config/rope_spec.h"

namespace trireme::config {

enum class Family { kLlama, kQwen2, kQwen3, kQwen3Moe };

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
  RopeSpec rope;
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
  // The file with the rope that was asked for, as it is written back with the output.
  Json raw;
  std::vector<std::string> notes;  // lines for the log: keys that have no effect

  int64_t q_dim() const { return heads * head_dim; }
  int64_t kv_dim() const { return kv_heads * head_dim; }
  bool sparse(int64_t layer) const { return moe && sparse_layers[layer]; }
  // Whether a loss that balances the experts is part of the loss.
  bool balanced() const { return moe && moe->balance_coefficient; }
};

const char* family_name(Family family);

// The text of a config.json with the floats that Python writes and JSON has not (Infinity, NaN)
// written as transformers 5 writes them: {"__float__": "Infinity"}.
std::string with_tagged_floats(std::string_view text);

// Reads folder/config.json. What is not built and would change what transformers computes is
// refused by name (UserError): architectures, rope types, and keys of the table in
// model_spec_table.h. `rope_scaling`: what --rope_scaling gives, a JSON object in place of the
// file's own; "": nothing.
ModelSpec read_model_spec(const std::string& folder, const std::string& rope_scaling = "");
ModelSpec parse_model_spec(const Json& json, const std::string& name,
                           const std::string& rope_scaling = "");

}  // namespace trireme::config
