#include "config/model_spec_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "config/model_spec.h"

namespace trireme::config {
namespace {

Json config_with(const char* key, const Json& value, const char* type = "llama") {
  return {{"model_type", type},       {"hidden_size", 64}, {"num_hidden_layers", 2},
          {"num_attention_heads", 4}, {"vocab_size", 100}, {"intermediate_size", 64},
          {"num_key_value_heads", 4}, {key, value}};
}

// The error, or else the first line for the log, or else "".
std::string outcome(const char* key, const Json& value, const char* type = "llama") {
  try {
    const ModelSpec spec = parse_model_spec(config_with(key, value, type), "c");
    return spec.notes.empty() ? "" : spec.notes.front();
  } catch (const UserError& error) {
    return error.what();
  }
}

TEST(ModelKeys, EachStandsOnceAndItsNeutralValuesAreJson) {
  std::set<std::string_view> paths;
  for (const ModelKey& row : model_keys()) {
    EXPECT_TRUE(paths.insert(row.path).second) << row.path;
    EXPECT_FALSE(row.text.empty()) << row.path;
    if (row.fate != ModelKeyFate::kNeutral || row.scope.empty()) continue;
    const std::string key(row.path.substr(row.path.find('.') + 1));
    EXPECT_EQ(outcome(key.c_str(), Json::parse(row.scope)), "") << row.path;
  }
}

TEST(ModelKeys, WhatIsNotBuiltIsRefusedUnlessItIsOff) {
  EXPECT_EQ(outcome("attention_dropout", 0.1),
            "c: attention_dropout is 0.1: dropout within the model (adapters have --lora_dropout), "
            "which is not built: set it to 0 to do without");
  EXPECT_EQ(outcome("is_causal", false),
            "c: is_causal is false: attention in both directions, which is not built: set it to "
            "true to do without");
  EXPECT_EQ(outcome("pruned_heads", {{"0", {1}}}),
            "c: pruned_heads is {\"0\":[1]}: heads that are left out, which is not built: set it "
            "to null to do without");
  for (const Json& off : {Json(0), Json(0.0), Json(nullptr)}) {
    EXPECT_EQ(outcome("attention_dropout", off), "");
    EXPECT_EQ(outcome("resid_pdrop", off), "");
  }
  EXPECT_NE(outcome("resid_pdrop", 0.1), "");
  EXPECT_NE(outcome("embd_pdrop", 1), "");
  EXPECT_EQ(outcome("pruned_heads", Json::object()), "");
}

TEST(ModelKeys, UnknownKeysAreNamed) {
  EXPECT_EQ(outcome("made_by", "hand"), "c: keys that are not known, and have no effect: made_by");
  for (const Json& nothing : {Json(nullptr), Json(""), Json::array(), Json::object()}) {
    EXPECT_EQ(outcome("made_by", nothing), "");
  }
  EXPECT_EQ(outcome("a\nb", 1), "c: keys that are not known, and have no effect: a\\x0ab");
  Json many = config_with("x", 1);
  for (int i = 0; i < 100; ++i) many["key" + std::to_string(i)] = 1;
  EXPECT_NE(parse_model_spec(many, "c").notes.front().find("key18 and 81 more"), std::string::npos);
}

TEST(ModelKeys, UnknownKeysThatTouchWhatIsComputedAreRefused) {
  EXPECT_EQ(outcome("attn_logit_softcapping", 50),
            "c: attn_logit_softcapping is 50: not known, and by its name it changes what is "
            "computed: remove it to do without, as transformers does in llama");
  for (const char* key : {"residual_multiplier", "logit_scale", "router_z", "z_loss_weight",
                          "rotary_pct", "rope_ratio", "local_window", "final_softcap"}) {
    EXPECT_NE(outcome(key, 0.5).find("not known, and by its name"), std::string::npos) << key;
    EXPECT_EQ(outcome(key, false), "") << key;
  }
  EXPECT_EQ(outcome("residual_multiplier", 1.0), "");
  EXPECT_NE(outcome("residual_multiplier", 0), "");
  EXPECT_EQ(outcome("router_z", 0), "");
  EXPECT_NE(outcome("router_z", 1), "");
  EXPECT_EQ(outcome("use_mrope", false), "");  // as Qwen2.5's files have it
}

TEST(ModelKeys, KeysOfOtherFamiliesAreNamed) {
  EXPECT_EQ(outcome("mlp_bias", true, "qwen2"),
            "c: without effect in qwen2, as in transformers: mlp_bias");
  EXPECT_EQ(outcome("mlp_bias", false, "qwen2"), "");
  EXPECT_EQ(outcome("mlp_bias", true, "llama"), "");
  EXPECT_EQ(outcome("sliding_window", 8),
            "c: sliding_window is 8: in a llama transformers slides in its cache alone: set it to "
            "null");
}

TEST(ModelKeys, KeysOfTheRope) {
  EXPECT_EQ(outcome("rope_scaling", {{"type", "linear"}, {"factor", 2}, {"beta_fast", 32}}),
            "c: without effect in linear, as in transformers: beta_fast");
  EXPECT_EQ(outcome("rope_scaling", {{"type", "yarn"}, {"factor", 2}, {"finetuned", true}}), "");
  EXPECT_EQ(
      outcome("rope_parameters", {{"rope_type", "yarn"}, {"factor", 2}, {"extrapolation", 2}}),
      "c: rope_parameters.extrapolation is 2: not known, and by its name it changes what is "
      "computed: remove it to do without, as transformers does in yarn");
}

TEST(ModelKeys, NullsThatTransformersRefuses) {
  EXPECT_EQ(outcome("head_dim", nullptr, "qwen3"),
            "c: head_dim is null: a number is expected in qwen3");
  EXPECT_EQ(outcome("head_dim", nullptr), "");
}

TEST(ModelSpec, FloatsAsPythonWritesThem) {
  const auto tagged = [](const char* text) { return with_tagged_floats(text); };
  EXPECT_EQ(
      tagged(R"({"a": [0.5, Infinity], "b": -Infinity, "c":NaN})"),
      R"({"a": [0.5, {"__float__": "Infinity"}], "b": {"__float__": "-Infinity"}, "c":{"__float__": "NaN"}})");
  for (const char* same : {R"({"Infinity": "NaN \" Infinity \\", "b": 1})", "", "\"", "\"\\"}) {
    EXPECT_EQ(tagged(same), same);
  }
  EXPECT_EQ(outcome("rms_norm_eps", parse_json(tagged("Infinity"), "x")),
            "c: rms_norm_eps is {\"__float__\":\"Infinity\"}: a number above 0 is expected");
}

}  // namespace
}  // namespace trireme::config
