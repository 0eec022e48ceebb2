#include "config/peft_config.h"

#include <gtest/gtest.h>

#include "base/testing.h"

namespace trireme::config {
namespace {

std::string error_of(const std::string& text) {
  return user_error([&] { parse_peft_config(text, "a.json"); });
}

// As PEFT 0.21.2 writes it for a model with experts under transformers 5.
constexpr const char* kNative = R"({
  "alora_invocation_tokens": null, "alpha_pattern": {".*\\.gate_up_proj": 12}, "auto_mapping": null,
  "base_model_name_or_path": "/m", "bias": "none", "ensure_weight_tying": false,
  "exclude_modules": null, "fan_in_fan_out": false, "inference_mode": true,
  "init_lora_weights": true, "layers_to_transform": [1, 2], "loftq_config": {}, "lora_alpha": 6,
  "lora_dropout": 0.1, "megatron_core": "megatron.core", "modules_to_save": null,
  "peft_type": "LORA", "peft_version": "0.21.2", "qalora_group_size": 16, "r": 3,
  "rank_pattern": {".*\\.gate_up_proj": 6}, "revision": null, "target_modules": "all-linear",
  "target_parameters": ["mlp.experts.gate_up_proj", "down_proj"], "task_type": "CAUSAL_LM",
  "use_dora": false, "use_rslora": true, "of_a_later_version": false})";

TEST(PeftConfig, ReadsWhatPeftWrites) {
  const PeftConfig config = parse_peft_config(kNative, "a.json");
  EXPECT_EQ(config.lora.rank, 3);
  EXPECT_EQ(config.lora.alpha, 6);
  EXPECT_EQ(config.lora.dropout, 0.1);
  EXPECT_TRUE(config.lora.rslora);
  EXPECT_EQ(config.lora.rank_pattern, (LoraPattern<int64_t>{{".*\\.gate_up_proj", 6}}));
  EXPECT_EQ(config.lora.alpha_pattern, (LoraPattern<double>{{".*\\.gate_up_proj", 12}}));
  EXPECT_EQ(config.lora.layers_to_transform, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(config.target_parameters.size(), 2u);
  EXPECT_EQ(config.base_model, "/m");
}

TEST(PeftConfig, SurvivesWritingAndReading) {
  PeftConfig config = parse_peft_config(kNative, "a.json");
  config.lora.target_modules = {"q_proj"};
  const Json json = peft_config_json(config);
  EXPECT_EQ(json["lora_alpha"].dump(), "6");  // PEFT's is an int
  EXPECT_EQ(json["target_modules"], Json({"q_proj"}));
  const PeftConfig again = parse_peft_config(json.dump(), "b.json");
  EXPECT_EQ(peft_config_json(again)["rank_pattern"], json["rank_pattern"]);
  EXPECT_EQ(again.lora.scale(), config.lora.scale());
  EXPECT_EQ(again.lora.alpha_pattern, config.lora.alpha_pattern);
  EXPECT_EQ(again.target_parameters, config.target_parameters);
}

TEST(PeftConfig, RefusesByName) {
  EXPECT_EQ(error_of("[]"), "a.json: array where an object is expected");
  EXPECT_EQ(error_of(R"({"peft_type": "LORA"})"),
            "a.json: no r: the rank of the adapter is expected");
  EXPECT_EQ(error_of(R"({"peft_type": "IA3", "r": 1})"),
            "a.json:1:2: peft_type: \"IA3\" is not built, only LORA: merge the adapter with PEFT "
            "and give the merged model");
  EXPECT_EQ(error_of(R"({"use_qalora": true})"),
            "a.json:1:2: use_qalora: true is not built: merge the adapter with PEFT and give the "
            "merged model");
  EXPECT_EQ(error_of(R"({"rank_pattern": {"q_proj": 4.5}})"),
            "a.json:1:2: rank_pattern: q_proj: 4.5 is no rank: a whole number is expected");
  EXPECT_EQ(error_of(R"({"r": 0})"), "a.json:1:2: r: a number of at least 1 is expected, found 0");
  EXPECT_EQ(error_of(R"({"later": {"x": 1}})"),
            "a.json:1:2: later: {\"x\":1} is not known: merge the adapter with PEFT and give the "
            "merged model");
}

TEST(PeftConfig, AStartThatChangesTheModelIsRefused) {
  for (const char* good : {"true", "false", "\"gaussian\"", "null"}) {
    EXPECT_EQ(peft_field_refusal("init_lora_weights", Json::parse(good), PeftFile::kAdapter), "");
  }
  EXPECT_NE(peft_field_refusal("init_lora_weights", "pissa", PeftFile::kAdapter), "");
  EXPECT_NE(peft_field_refusal("init_lora_weights", "gaussian", PeftFile::kRunConfig), "");
  EXPECT_NE(peft_field_refusal("init_lora_weights", false, PeftFile::kRunConfig), "");
}

}  // namespace
}  // namespace trireme::config
