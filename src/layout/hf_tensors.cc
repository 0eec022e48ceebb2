#include "layout/hf_tensors.h"

#include <fmt/format.h>

namespace trireme::layout {
namespace {

void add_attention(const config::ModelSpec& s, const std::string& prefix,
                   std::vector<NamedShape>& list) {
  const std::string p = prefix + "self_attn.";
  list.push_back({p + "q_proj.weight", {s.q_dim(), s.hidden}});
  list.push_back({p + "k_proj.weight", {s.kv_dim(), s.hidden}, true, true});
  list.push_back({p + "v_proj.weight", {s.kv_dim(), s.hidden}, true, true});
  list.push_back({p + "o_proj.weight", {s.hidden, s.q_dim()}});
  if (s.qkv_bias) {
    list.push_back({p + "q_proj.bias", {s.q_dim()}, false});
    list.push_back({p + "k_proj.bias", {s.kv_dim()}, false, true});
    list.push_back({p + "v_proj.bias", {s.kv_dim()}, false, true});
  }
  if (s.o_bias) list.push_back({p + "o_proj.bias", {s.hidden}, false});
  if (s.qk_norm) {
    list.push_back({p + "q_norm.weight", {s.head_dim}, false});
    list.push_back({p + "k_norm.weight", {s.head_dim}, false});
  }
}

void add_mlp(const config::ModelSpec& s, const std::string& prefix, std::vector<NamedShape>& list) {
  const std::string p = prefix + "mlp.";
  list.push_back({p + "gate_proj.weight", {s.intermediate, s.hidden}});
  list.push_back({p + "up_proj.weight", {s.intermediate, s.hidden}, true, true});
  list.push_back({p + "down_proj.weight", {s.hidden, s.intermediate}});
  if (s.mlp_bias) {
    list.push_back({p + "gate_proj.bias", {s.intermediate}, false});
    list.push_back({p + "up_proj.bias", {s.intermediate}, false, true});
    list.push_back({p + "down_proj.bias", {s.hidden}, false});
  }
}

void add_experts(const config::ModelSpec& s, const std::string& prefix,
                 std::vector<NamedShape>& list) {
  const std::string p = prefix + "mlp.";
  const int64_t width = s.moe->intermediate;
  list.push_back({p + "gate.weight", {s.moe->experts, s.hidden}});
  for (int64_t e = 0; e < s.moe->experts; ++e) {
    const std::string expert = fmt::format("{}experts.{}.", p, e);
    list.push_back({expert + "gate_proj.weight", {width, s.hidden}, true, e > 0});
    list.push_back({expert + "up_proj.weight", {width, s.hidden}, true, true});
  }
  for (int64_t e = 0; e < s.moe->experts; ++e) {
    list.push_back(
        {fmt::format("{}experts.{}.down_proj.weight", p, e), {s.hidden, width}, true, e > 0});
  }
}

}  // namespace

NamedShape embedding_tensor(const config::ModelSpec& s) {
  return {"model.embed_tokens.weight", {s.vocab, s.hidden}};
}

std::vector<NamedShape> layer_tensors(const config::ModelSpec& s, int64_t layer) {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  std::vector<NamedShape> list;
  add_attention(s, prefix, list);
  if (s.sparse(layer)) {
    add_experts(s, prefix, list);
  } else {
    add_mlp(s, prefix, list);
  }
  list.push_back({prefix + "input_layernorm.weight", {s.hidden}, false});
  list.push_back({prefix + "post_attention_layernorm.weight", {s.hidden}, false});
  return list;
}

std::vector<NamedShape> head_tensors(const config::ModelSpec& s) {
  std::vector<NamedShape> list;
  if (!s.tied) list.push_back({"lm_head.weight", {s.vocab, s.hidden}});
  list.push_back({"model.norm.weight", {s.hidden}, false});
  return list;
}

}  // namespace trireme::layout
