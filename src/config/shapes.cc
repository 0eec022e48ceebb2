#include "config/shapes.h"

#include <map>

#include "base/error.h"
#include "base/nearest.h"

namespace trireme::config {
namespace {

const std::map<std::string, const char*>& shapes() {
  static const std::map<std::string, const char*> list = {
      {"qwen3-0.6b", R"({"model_type": "qwen3", "vocab_size": 151936, "hidden_size": 1024,
          "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
          "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": true})"},
      {"qwen3-1.7b", R"({"model_type": "qwen3", "vocab_size": 151936, "hidden_size": 2048,
          "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16,
          "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": true})"},
      {"qwen3-8b", R"({"model_type": "qwen3", "vocab_size": 151936, "hidden_size": 4096,
          "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32,
          "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": false})"},
      {"qwen3-30b-a3b", R"({"model_type": "qwen3_moe", "vocab_size": 151936, "hidden_size": 2048,
          "intermediate_size": 6144, "moe_intermediate_size": 768, "num_hidden_layers": 48,
          "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128,
          "num_experts": 128, "num_experts_per_tok": 8, "norm_topk_prob": true,
          "tie_word_embeddings": false})"},
      {"llama3-8b", R"({"model_type": "llama", "vocab_size": 128256, "hidden_size": 4096,
          "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
          "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": false})"}};
  return list;
}

}  // namespace

ModelSpec known_shape(const std::string& name, const std::string& rope_scaling) {
  const auto found = shapes().find(name);
  if (found != shapes().end()) {
    return parse_model_spec(parse_json(found->second, name), name, rope_scaling);
  }
  std::vector<std::string> names;
  for (const auto& [known, json] : shapes()) names.push_back(known);
  fail(
      "--shape {}: unknown{}: qwen3-0.6b, qwen3-1.7b, qwen3-8b, qwen3-30b-a3b and llama3-8b are "
      "known; or give a folder with --model",
      name, did_you_mean(name, names));
}

}  // namespace trireme::config
