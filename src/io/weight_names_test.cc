#include "io/weight_names.h"

#include <gtest/gtest.h>

#include "io/io_testing.h"

namespace trireme::io {
namespace {

using Names = std::vector<std::string>;

// The names that come out, in the order of those that go in.
Names standard(const Names& stored) {
  const auto renamed = standard_names(stored, "folder");
  Names names;
  for (const std::string& name : stored) {
    const auto at = renamed.find(name);
    names.push_back(at == renamed.end() ? name : at->second);
  }
  return names;
}

const Names& hugging_face() {
  static const Names names = {"model.embed_tokens.weight",
                              "model.layers.0.input_layernorm.weight",
                              "model.layers.0.self_attn.q_proj.weight",
                              "model.layers.10.mlp.experts.3.up_proj.weight_scale_inv",
                              "model.norm.weight",
                              "lm_head.weight"};
  return names;
}

// The names with this before the decoder's and that before the head's.
Names behind(const std::string& decoder, const std::string& head) {
  Names names = hugging_face();
  for (std::string& name : names) {
    name = name == "lm_head.weight" ? head + name : decoder + name.substr(6);
  }
  return names;
}

TEST(WeightNames, OnePatternForAllIsRead) {
  EXPECT_TRUE(standard_names(hugging_face(), "folder").empty());
  for (const auto& [decoder, head] : std::vector<std::pair<std::string, std::string>>{
           {"", ""},
           {"_orig_mod.model.", "_orig_mod."},
           {"model._orig_mod.", ""},
           {"module.model.", "module."},
           {"module._orig_mod.model.", "module._orig_mod."},
           {"base_model.model.model.", "base_model.model."},
           {"language_model.model.", "language_model."},
           {"model.language_model.", ""},
           {"model.model.", "model."},
           {"_fsdp_wrapped_module.model.", "_fsdp_wrapped_module."}}) {
    EXPECT_EQ(standard(behind(decoder, head)), hugging_face()) << decoder;
  }
}

TEST(WeightNames, WrappersMayStandBetween) {
  Names stored = hugging_face();
  stored[1] = "model.layers.0._checkpoint_wrapped_module.input_layernorm.weight";
  stored[2] = "model._fsdp_wrapped_module.layers.0.self_attn._orig_mod.q_proj.weight";
  EXPECT_EQ(standard(stored), hugging_face());
}

TEST(WeightNames, SomeMayBeTheBaseModels) {
  Names stored = hugging_face();
  stored[0] = "embed_tokens.weight", stored[4] = "norm.weight";
  EXPECT_EQ(standard(stored), hugging_face());
  stored[4] = "normal.weight";
  EXPECT_EQ(standard(stored)[4], "normal.weight");
}

TEST(WeightNames, WhatNoDecoderHasIsLeftAlone) {
  EXPECT_TRUE(standard_names({"a", "b.weight", "transformer.h.0.ln_1.weight"}, "folder").empty());
  EXPECT_TRUE(standard_names({}, "folder").empty());
}

TEST(WeightNames, WhatFitsNoPatternIsRefusedByIt) {
  const auto error = [](const Names& names) {
    return user_error([&] { standard_names(names, "folder"); });
  };
  EXPECT_TRUE(contains(error(behind("backbone.model.", "backbone.")),
                       "folder: its tensors are named as backbone.model.layers.0."));
  Names some = behind("module.model.", "module.");
  some[4] = "model.norm.weight";
  EXPECT_TRUE(contains(error(some), "begin with module.model., but model.norm.weight does not"));
  Names twice = hugging_face();
  twice.push_back("layers.0.input_layernorm.weight");
  EXPECT_TRUE(contains(error(twice), "two decoders"));
  Names heads = hugging_face();
  heads.push_back("model.lm_head.weight");
  EXPECT_TRUE(contains(error(heads), "lm_head.weight and model.lm_head.weight are both"));
}

}  // namespace
}  // namespace trireme::io
