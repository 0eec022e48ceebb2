#include "config/model_spec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <map>

#include "base/error.h"

namespace trireme::config {
namespace {

// Qwen3-30B-A3B as published.
const Json& qwen3_moe() {
  static const Json json = parse_json(R"({
    "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": false, "bos_token_id": 151643,
    "decoder_sparse_step": 1, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu",
    "hidden_size": 2048, "intermediate_size": 6144, "max_position_embeddings": 40960,
    "max_window_layers": 48, "mlp_only_layers": [], "model_type": "qwen3_moe",
    "moe_intermediate_size": 768, "norm_topk_prob": true, "num_attention_heads": 32,
    "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48,
    "num_key_value_heads": 4, "rms_norm_eps": 1e-06, "rope_scaling": null,
    "rope_theta": 1000000.0, "sliding_window": null, "tie_word_embeddings": false,
    "torch_dtype": "bfloat16", "use_sliding_window": false, "vocab_size": 151936})",
                                      "config.json");
  return json;
}

// The five keys that every config.json must have.
Json minimal(const std::string& type) {
  return {{"model_type", type},        {"hidden_size", 4096}, {"num_hidden_layers", 2},
          {"num_attention_heads", 32}, {"vocab_size", 1000},  {"intermediate_size", 512}};
}

ModelSpec parse(const Json& json) { return parse_model_spec(json, "config.json"); }

std::string error_of(const Json& json) {
  try {
    parse(json);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

std::string error_with(const std::string& type, const char* key, const Json& value) {
  Json json = minimal(type);
  json[key] = value;
  return error_of(json);
}

TEST(ModelSpec, Qwen3MoeAsPublished) {
  const ModelSpec spec = parse(qwen3_moe());
  EXPECT_EQ(spec.family, Family::kQwen3Moe);
  EXPECT_EQ(spec.architecture, "Qwen3MoeForCausalLM");
  EXPECT_EQ(spec.q_dim(), 4096);
  EXPECT_EQ(spec.kv_dim(), 512);
  EXPECT_EQ(spec.rope.theta, 1e6);
  EXPECT_EQ(spec.rope.type, RopeType::kDefault);
  EXPECT_TRUE(spec.qk_norm);
  EXPECT_FALSE(spec.qkv_bias || spec.o_bias || spec.mlp_bias || spec.tied);
  ASSERT_TRUE(spec.moe);
  EXPECT_EQ(spec.moe->experts, 128);
  EXPECT_EQ(spec.moe->experts_per_token, 8);
  EXPECT_EQ(spec.moe->intermediate, 768);
  EXPECT_TRUE(spec.moe->norm_topk_prob);
  EXPECT_EQ(spec.sparse_layers, std::vector<bool>(48, true));
  EXPECT_EQ(spec.eos_ids, std::vector<int64_t>{151645});
  EXPECT_EQ(spec.dtype, "bfloat16");
  EXPECT_EQ(spec.raw, qwen3_moe());
  EXPECT_TRUE(spec.notes.empty());
}

TEST(ModelSpec, ALossThatBalancesExperts) {
  Json json = qwen3_moe();
  EXPECT_FALSE(parse(json).balanced());
  json["output_router_logits"] = true;
  EXPECT_EQ(parse(json).moe->balance_coefficient, 0.001);
  json["router_aux_loss_coef"] = 0;
  EXPECT_EQ(parse(json).moe->balance_coefficient, 0);
  json.erase("router_aux_loss_coef");
  EXPECT_EQ(parse(json).moe->balance_coefficient, 0.001);
  json["router_aux_loss_coef"] = "0.1";
  EXPECT_EQ(error_of(json), "config.json: router_aux_loss_coef is \"0.1\": a number is expected");
  json["router_aux_loss_coef"] = 0.1;
  json["decoder_sparse_step"] = 100;
  EXPECT_EQ(error_of(json),
            "config.json: output_router_logits is true, but no layer has experts: set it to false");
  json["num_experts"] = 0;
  EXPECT_NE(error_of(json).find("no layer has experts"), std::string::npos);
  Json dense = minimal("qwen3");
  dense["output_router_logits"] = true;  // only a mixture of experts reads it
  EXPECT_FALSE(parse(dense).balanced());
}

TEST(ModelSpec, ThePaddingRow) {
  Json json = minimal("llama");
  const int64_t vocab = parse(json).vocab;
  EXPECT_FALSE(parse(json).padding_row);
  json["pad_token_id"] = nullptr;
  EXPECT_FALSE(parse(json).padding_row);
  // torch.nn.Embedding(vocab, hidden, padding_idx): from the end where negative.
  for (const auto& [id, row] :
       std::map<int64_t, int64_t>{{0, 0}, {vocab - 1, vocab - 1}, {-1, vocab - 1}, {-vocab, 0}}) {
    json["pad_token_id"] = id;
    EXPECT_EQ(parse(json).padding_row, row);
  }
  for (const int64_t id : {vocab, -vocab - 1}) {
    EXPECT_EQ(error_with("llama", "pad_token_id", id),
              fmt::format("config.json: pad_token_id {} is no row of the embedding, which has "
                          "vocab_size {} of them: set it to null, or to a token below {}",
                          id, vocab, vocab));
  }
}

TEST(ModelSpec, TransformersFiveKeysSayTheSame) {
  Json json = qwen3_moe();
  json.erase("rope_theta");
  json.erase("rope_scaling");
  json["rope_parameters"] = {{"rope_theta", 1000000.0}, {"rope_type", "default"}};
  json.erase("torch_dtype");
  json["dtype"] = "bfloat16";
  json.erase("num_experts");
  json["num_local_experts"] = 64;
  const ModelSpec spec = parse(json);
  EXPECT_EQ(spec.rope.theta, 1e6);
  EXPECT_EQ(spec.dtype, "bfloat16");
  EXPECT_EQ(spec.moe->experts, 64);
}

// The values that LlamaConfig(), ... of transformers 5.17 print.
TEST(ModelSpec, DefaultsAreThoseOfTransformers) {
  const ModelSpec llama = parse(minimal("llama")), qwen2 = parse(minimal("qwen2")),
                  qwen3 = parse(minimal("qwen3"));
  for (const ModelSpec* spec : {&llama, &qwen2, &qwen3}) {
    EXPECT_EQ(spec->kv_heads, 32);
    EXPECT_EQ(spec->head_dim, 128);
    EXPECT_EQ(spec->rms_norm_eps, 1e-6);
    EXPECT_EQ(spec->rope.theta, 10000);
    EXPECT_EQ(spec->dtype, "float32");
    EXPECT_FALSE(spec->tied || spec->o_bias || spec->mlp_bias || spec->moe);
    EXPECT_EQ(spec->sparse_layers, std::vector<bool>(2, false));
  }
  EXPECT_EQ(llama.eos_ids, std::vector<int64_t>{2});
  EXPECT_EQ(llama.max_position, 2048);
  EXPECT_TRUE(qwen3.eos_ids.empty());
  EXPECT_EQ(qwen3.max_position, 32768);
  EXPECT_TRUE(qwen2.qkv_bias && !qwen2.qk_norm && !qwen3.qkv_bias && qwen3.qk_norm);
  const ModelSpec moe = parse(minimal("qwen3_moe"));
  EXPECT_EQ(moe.kv_heads, 4);
  EXPECT_EQ(moe.moe->experts, 128);
  EXPECT_EQ(moe.moe->experts_per_token, 8);
  EXPECT_EQ(moe.moe->intermediate, 768);
  EXPECT_FALSE(moe.moe->norm_topk_prob);
}

TEST(ModelSpec, HeadDimWhereAbsent) {
  Json json = minimal("qwen3");
  json["hidden_size"] = 2048;
  EXPECT_EQ(parse(json).head_dim, 128);
  json["model_type"] = "qwen3_moe";
  EXPECT_EQ(parse(json).head_dim, 64);
  json["head_dim"] = 96;
  EXPECT_EQ(parse(json).q_dim(), 96 * 32);
}

TEST(ModelSpec, NullKeyHeadsMeanAsManyAsHeads) {
  Json json = minimal("qwen2");
  json["num_attention_heads"] = 64;
  EXPECT_EQ(parse(json).kv_heads, 32);
  json["num_key_value_heads"] = nullptr;
  EXPECT_EQ(parse(json).kv_heads, 64);
}

TEST(ModelSpec, Biases) {
  Json json = minimal("llama");
  json["attention_bias"] = true;
  json["mlp_bias"] = true;
  EXPECT_TRUE(parse(json).qkv_bias && parse(json).o_bias && parse(json).mlp_bias);
  json["model_type"] = "qwen2";
  EXPECT_TRUE(parse(json).qkv_bias && !parse(json).o_bias && !parse(json).mlp_bias);
  json["model_type"] = "qwen3";
  EXPECT_TRUE(parse(json).qkv_bias && parse(json).o_bias && !parse(json).mlp_bias);
}

TEST(ModelSpec, SparseLayersFollowStepAndList) {
  Json json = minimal("qwen3_moe");
  json["num_hidden_layers"] = 6;
  json["decoder_sparse_step"] = 2;
  json["mlp_only_layers"] = {3};
  EXPECT_EQ(parse(json).sparse_layers, (std::vector<bool>{false, true, false, false, false, true}));
  json["num_experts"] = 0;
  EXPECT_FALSE(parse(json).moe);
  EXPECT_FALSE(parse(json).sparse(1));
}

// A second is some twenty times what this takes; a search of the list for each layer took six.
TEST(ModelSpec, ALongListOfDenseLayersTakesLinearTime) {
  Json json = qwen3_moe();
  json["num_hidden_layers"] = 1 << 16;
  json["hidden_size"] = 2;  // within what a model may have in all
  json["moe_intermediate_size"] = 1;
  json["vocab_size"] = 10;
  json["mlp_only_layers"] = std::vector<int64_t>(300'000, 65'535);
  const std::clock_t start = std::clock();
  const ModelSpec spec = parse(json);
  EXPECT_LT(std::clock() - start, CLOCKS_PER_SEC);
  EXPECT_EQ(std::ranges::count(spec.sparse_layers, false), 1);
  EXPECT_FALSE(spec.sparse_layers.back());
}

TEST(ModelSpec, EosForms) {
  Json json = minimal("llama");
  json["eos_token_id"] = {1, 5};
  EXPECT_EQ(parse(json).eos_ids, (std::vector<int64_t>{1, 5}));
  json["eos_token_id"] = nullptr;
  EXPECT_TRUE(parse(json).eos_ids.empty());
}

TEST(ModelSpec, UnknownModelsAreRefusedByName) {
  const std::string known =
      " is not supported: trireme knows LlamaForCausalLM (llama), Qwen2ForCausalLM (qwen2), "
      "Qwen3ForCausalLM (qwen3), Qwen3MoeForCausalLM (qwen3_moe)";
  EXPECT_EQ(error_with("mistral", "x", 1), "config.json: model_type mistral" + known);
  EXPECT_EQ(error_with("llama", "architectures", {"LlamaForSequenceClassification"}),
            "config.json: architecture LlamaForSequenceClassification" + known);
  EXPECT_EQ(error_with("mistral", "architectures", {"LlamaForCausalLM"}),
            "config.json: model_type mistral" + known);
  EXPECT_EQ(error_of(Json::object()),
            "config.json: neither architectures nor model_type: is this a Hugging Face "
            "config.json?");
}

TEST(ModelSpec, UnsupportedFeaturesAreRefusedByName) {
  EXPECT_EQ(error_with("llama", "hidden_act", "gelu"),
            "config.json: hidden_act gelu is not supported: trireme knows silu");
  EXPECT_EQ(error_with("qwen3", "layer_types", {"full_attention", "sliding_attention"}),
            "config.json: layer_types has \"sliding_attention\": trireme knows full_attention "
            "only");
  EXPECT_EQ(error_with("llama", "partial_rotary_factor", 0.5),
            "config.json: partial_rotary_factor is 0.5: heads that are rotated in part, which is "
            "not built: set it to 1 to do without");
}

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

std::string quantization_error(const Json& quantization) {
  return error_with("llama", "quantization_config", quantization);
}

TEST(ModelSpec, OtherQuantisationsAreRefusedWithTheRemedy) {
  for (const char* method : {"gptq", "awq", "bitsandbytes", "compressed-tensors", "fbgemm_fp8"}) {
    const std::string error = quantization_error({{"quant_method", method}});
    EXPECT_TRUE(error.starts_with(fmt::format("config.json: quantization_config {}: ", method)));
    EXPECT_TRUE(contains(error, "give the model that this one was made from")) << error;
  }
  EXPECT_TRUE(contains(quantization_error({{"load_in_4bit", true}}), "config bitsandbytes"));
  EXPECT_TRUE(contains(quantization_error("fp8"), "an object is expected"));
}

TEST(ModelSpec, Fp8BlocksAreReadAndNotWrittenBack) {
  Json json = minimal("qwen3");
  EXPECT_FALSE(parse_model_spec(json, "config.json").fp8);
  json["quantization_config"] = {{"quant_method", "fp8"},
                                 {"fmt", "e4m3"},
                                 {"weight_block_size", {64, 32}},
                                 {"activation_scheme", "dynamic"}};
  const ModelSpec spec = parse_model_spec(json, "config.json");
  EXPECT_EQ(spec.fp8->rows, 64);
  EXPECT_EQ(spec.fp8->columns, 32);
  EXPECT_FALSE(spec.raw.contains("quantization_config"));
  const Json base = {{"quant_method", "fp8"}};
  for (const auto& [key, value, says] : std::vector<std::tuple<const char*, Json, const char*>>{
           {"fmt", "e5m2", "quantization_config.fmt e5m2"},
           {"scale_fmt", "e4m3", "scale_fmt e4m3 is not supported: trireme reads float, ue8m0"},
           {"activation_scheme", "other", "activation_scheme other"},
           {"modules_to_convert", {"embed_tokens"}, "modules_to_convert [\"embed_tokens\"]"},
           {"weight_block_size", {128}, "weight_block_size is [128]: two whole numbers"},
           {"weight_block_size", 128, "weight_block_size is 128: two whole numbers"},
           {"weight_block_size", {128, 0}, "two whole numbers from 1"}}) {
    Json changed = base;
    changed[key] = value;
    EXPECT_TRUE(contains(quantization_error(changed), says)) << quantization_error(changed);
  }
}

TEST(ModelSpec, SlidingWindowIsRefusedWhereALayerUsesIt) {
  Json json = minimal("qwen2");
  json["use_sliding_window"] = true;
  EXPECT_EQ(error_of(json), "no error");  // max_window_layers 28 of 2 layers
  json["max_window_layers"] = 1;
  EXPECT_EQ(error_of(json),
            "config.json: use_sliding_window is true with a window of 4096 from layer 1 on: "
            "trireme knows full attention only");
  json["sliding_window"] = nullptr;
  EXPECT_EQ(error_of(json), "no error");
  EXPECT_NE(error_with("qwen3_moe", "use_sliding_window", true), "no error");
}

TEST(ModelSpec, ImpossibleSizes) {
  const std::string size = ": a whole number from 1 to 2147483647 is expected";
  EXPECT_EQ(error_with("llama", "hidden_size", 0), "config.json: hidden_size is 0" + size);
  EXPECT_EQ(error_with("llama", "vocab_size", -5), "config.json: vocab_size is -5" + size);
  EXPECT_EQ(error_with("llama", "vocab_size", 18446744073709551615u),
            "config.json: vocab_size is 18446744073709551615" + size);
  EXPECT_EQ(error_with("llama", "vocab_size", "32000"),
            "config.json: vocab_size is \"32000\"" + size);
  EXPECT_EQ(error_with("llama", "num_key_value_heads", 5),
            "config.json: num_attention_heads 32 is not a multiple of num_key_value_heads 5");
  EXPECT_EQ(error_with("llama", "head_dim", 33),
            "config.json: head_dim is 33: rotary embeddings need an even number");
  EXPECT_EQ(error_with("llama", "hidden_size", 100),
            "config.json: hidden_size 100 is not a multiple of num_attention_heads 32, and "
            "head_dim is absent");
  EXPECT_EQ(error_with("qwen3_moe", "num_experts", 4),
            "config.json: num_experts_per_tok 8 exceeds num_experts 4");
  EXPECT_EQ(error_with("llama", "rms_norm_eps", 0),
            "config.json: rms_norm_eps is 0: a number above 0 is expected");
  EXPECT_EQ(error_with("llama", "intermediate_size", 2147483647), "no error");
  Json json = minimal("llama");
  json["intermediate_size"] = json["vocab_size"] = json["hidden_size"] = 1 << 30;
  EXPECT_NE(error_of(json).find("parameters: is one of them wrong?"), std::string::npos);
}

TEST(ModelSpec, MissingKeysAreNamed) {
  for (const char* key : {"hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
                          "intermediate_size"}) {
    Json json = minimal("llama");
    json.erase(key);
    EXPECT_EQ(error_of(json), fmt::format("config.json: the key {} is missing", key));
  }
}

TEST(ModelSpec, FoldersThatAreNone) {
  EXPECT_THROW(read_model_spec("/nonexistent/Qwen/Qwen3-8B"), UserError);
  EXPECT_THROW(read_model_spec("/"), UserError);
}

}  // namespace
}  // namespace trireme::config
