#include "model/adapter_views.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/testing.h"
#include "layout/adapters.h"
#include "model/adapter_io.h"

namespace trireme::model {
namespace {

using config::Json;
using config::LoraSpec;

// Layer 0 is dense, layer 1 has experts.
config::ModelSpec mixed_spec() {
  return config::parse_model_spec(Json{{"model_type", "qwen3_moe"},
                                       {"hidden_size", 12},
                                       {"num_hidden_layers", 2},
                                       {"num_attention_heads", 2},
                                       {"num_key_value_heads", 1},
                                       {"head_dim", 6},
                                       {"vocab_size", 31},
                                       {"intermediate_size", 14},
                                       {"moe_intermediate_size", 6},
                                       {"num_experts", 3},
                                       {"num_experts_per_tok", 2},
                                       {"mlp_only_layers", {0}}},
                                  "config.json");
}

LoraSpec lora_spec(std::vector<std::string> targets, int64_t rank = 2) {
  return {.rank = rank, .alpha = 6, .target_modules = std::move(targets)};
}

std::vector<at::Tensor> numbered_blocks(const layout::Adapters& adapters) {
  std::vector<at::Tensor> blocks;
  for (const layout::BlockLayout& block : adapters.layout.blocks) {
    blocks.push_back(at::arange(block.numel, at::kFloat) + 1);
  }
  return blocks;
}

std::string error_of(std::vector<std::string> targets, int64_t rank = 2) {
  return user_error(
      [&] { layout::make_adapters(mixed_spec(), lora_spec(std::move(targets), rank)); });
}

TEST(Adapters, NamesShapesAndNeighbours) {
  const layout::Adapters adapters =
      layout::make_adapters(mixed_spec(), lora_spec({"q_proj", "v_proj"}));
  ASSERT_EQ(adapters.layout.blocks.size(), 4u);
  EXPECT_EQ(adapters.layout.blocks[0].numel, 0);
  EXPECT_EQ(adapters.layout.blocks[3].numel, 0);
  const layout::BlockLayout& block = adapters.layout.blocks[1];
  ASSERT_EQ(block.params.size(), 4u);
  const std::string attention = "model.layers.0.self_attn.";
  EXPECT_EQ(block.params[0].name, attention + "q_proj.lora_A.weight");
  EXPECT_EQ(block.params[1].name, attention + "v_proj.lora_A.weight");
  EXPECT_EQ(block.params[1].offset, 2 * 12);  // joins the A of q
  EXPECT_EQ(block.params[2].name, attention + "q_proj.lora_B.weight");
  EXPECT_EQ(block.params[2].offset, 64);
  EXPECT_EQ(block.params[2].shape, (std::vector<int64_t>{12, 2}));
  EXPECT_EQ(block.params[3].offset, 128);
  EXPECT_EQ(block.decayed, block.numel);
}

TEST(Adapters, ExpertsAreStackedInOrder) {
  const layout::Adapters adapters =
      layout::make_adapters(mixed_spec(), lora_spec({"gate_proj", "up_proj", "down_proj"}));
  std::vector<std::string> names;
  for (const layout::ParamInfo& info : adapters.layout.blocks[2].params) names.push_back(info.name);
  ASSERT_EQ(names.size(), 18u);
  const std::string experts = "model.layers.1.mlp.experts.";
  EXPECT_EQ(names[0], experts + "0.gate_proj.lora_A.weight");
  EXPECT_EQ(names[1], experts + "0.up_proj.lora_A.weight");
  EXPECT_EQ(names[2], experts + "1.gate_proj.lora_A.weight");
  EXPECT_EQ(names[6], experts + "0.gate_proj.lora_B.weight");
  EXPECT_EQ(names[7], experts + "1.gate_proj.lora_B.weight");
  EXPECT_EQ(names[9], experts + "0.up_proj.lora_B.weight");
  EXPECT_EQ(names[12], experts + "0.down_proj.lora_A.weight");
}

// Each view is where its tensors are, and begins where wide loads may.
TEST(Adapters, ViewsHoldTheTensors) {
  const config::ModelSpec spec = mixed_spec();
  const layout::Adapters adapters = layout::make_adapters(spec, lora_spec({"all-linear"}));
  EXPECT_EQ(adapters.lora.target_modules.size(), 7u);
  const auto blocks = numbered_blocks(adapters);
  const layout::BlockLayout& block = adapters.layout.blocks[2];
  const LayerAdapters views = layer_adapters(spec, adapters, 1, blocks[2]);
  const auto tensor = [&](const std::string& name) {
    for (const layout::ParamInfo& info : block.params) {
      if (info.name == "model.layers.1." + name) return param_view(blocks[2], info);
    }
    return at::Tensor();
  };
  ASSERT_EQ(views.qkv.adapter.parts.size(), 3u);
  EXPECT_TRUE(views.qkv.adapter.a.narrow(0, 4, 2).equal(tensor("self_attn.v_proj.lora_A.weight")));
  EXPECT_EQ(views.qkv.adapter.parts[2].first_row, 18);
  EXPECT_EQ(views.qkv.adapter.parts[2].first_rank, 4);
  EXPECT_EQ(views.qkv.adapter.parts[2].rows, 6);
  EXPECT_TRUE(views.qkv.adapter.parts[1].b.equal(tensor("self_attn.k_proj.lora_B.weight")));
  EXPECT_EQ(views.expert_gate_up.adapter.a.sizes(), (std::vector<int64_t>{3, 4, 12}));
  EXPECT_TRUE(views.expert_gate_up.adapter.a[2].narrow(0, 2, 2).equal(
      tensor("mlp.experts.2.up_proj.lora_A.weight")));
  EXPECT_TRUE(views.expert_gate_up.adapter.parts[1].b[1].equal(
      tensor("mlp.experts.1.up_proj.lora_B.weight")));
  EXPECT_EQ(views.expert_down.adapter.parts[0].b.sizes(), (std::vector<int64_t>{3, 12, 2}));
  EXPECT_FALSE(views.gate_up.adapter.present() || views.down.adapter.present());
  for (const Linear* linear : {&views.qkv, &views.o, &views.expert_gate_up, &views.expert_down}) {
    EXPECT_EQ(linear->adapter.a.storage_offset() % 64, 0);
    for (const auto& part : linear->adapter.parts) EXPECT_EQ(part.b.storage_offset() % 64, 0);
  }
}

// Sizes of their own, and what is trained whole, in the layout and in the views.
TEST(Adapters, PatternsAndWholeTensors) {
  const config::ModelSpec spec = mixed_spec();
  LoraSpec lora = lora_spec({"q_proj", "v_proj", "up_proj"}, 3);
  lora.rank_pattern = {{"v_proj", 5}};
  lora.alpha_pattern = {{R"(.*\.1\..*v_proj)", 10}};
  lora.modules_to_save = {"embed_tokens", "q_norm", "gate"};
  const layout::Adapters adapters = layout::make_adapters(spec, lora);
  EXPECT_EQ(adapters.lora.rank_pattern, (config::LoraPattern<int64_t>{{"v_proj", 5}}));
  EXPECT_EQ(adapters.lora.alpha_pattern,
            (config::LoraPattern<double>{{"model.layers.1.self_attn.v_proj", 10}}));
  EXPECT_EQ(adapters.layout.blocks[0].numel, 31 * 12);
  EXPECT_EQ(adapters.layout.blocks[3].numel, 0);
  const auto blocks = numbered_blocks(adapters);
  const LayerAdapters views = layer_adapters(spec, adapters, 1, blocks[2]);
  ASSERT_EQ(views.qkv.adapter.parts.size(), 2u);
  EXPECT_EQ(views.qkv.adapter.a.sizes(), (std::vector<int64_t>{8, 12}));
  EXPECT_EQ(views.qkv.adapter.parts[1].first_rank, 3);
  EXPECT_EQ(views.qkv.adapter.parts[0].scale, 2);
  EXPECT_EQ(views.qkv.adapter.parts[1].scale, 2);
  EXPECT_EQ(layer_adapters(spec, adapters, 0, blocks[1]).qkv.adapter.parts[1].scale, 6.0 / 5);
  EXPECT_EQ(views.router.sizes(), (std::vector<int64_t>{3, 12}));
  EXPECT_EQ(views.q_norm.numel(), 6);
  EXPECT_FALSE(views.k_norm.defined() || views.input_norm.defined());
  EXPECT_EQ(trained_table(adapters, blocks[0]).sizes(), (std::vector<int64_t>{31, 12}));
}

TEST(Adapters, PartsThatAreNotAdaptedAreLeftOut) {
  const config::ModelSpec spec = mixed_spec();
  const layout::Adapters adapters =
      layout::make_adapters(spec, lora_spec({"v_proj", "mlp.up_proj"}));
  const auto blocks = numbered_blocks(adapters);
  const LayerAdapters dense = layer_adapters(spec, adapters, 0, blocks[1]);
  ASSERT_EQ(dense.qkv.adapter.parts.size(), 1u);
  EXPECT_EQ(dense.qkv.adapter.parts[0].first_row, 18);
  EXPECT_EQ(dense.qkv.adapter.parts[0].first_rank, 0);
  ASSERT_EQ(dense.gate_up.adapter.parts.size(), 1u);
  EXPECT_EQ(dense.gate_up.adapter.parts[0].first_row, 14);
  EXPECT_FALSE(dense.o.adapter.present() || dense.down.adapter.present());
  // "mlp.up_proj" is no end of "mlp.experts.0.up_proj".
  EXPECT_FALSE(layer_adapters(spec, adapters, 1, blocks[2]).expert_gate_up.adapter.present());
}

TEST(Adapters, RefusedTargets) {
  EXPECT_EQ(error_of({"q_proj", "o_prj"}),
            "target_modules: 'o_prj' is no linear of this qwen3_moe model (did you mean 'o_proj'?):"
            " it has q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj; all-linear "
            "takes them all");
  EXPECT_NE(error_of({"lm_head"}), "");
  EXPECT_NE(error_of({"mlp.gate"}), "");
  EXPECT_NE(error_of({"proj"}), "");
  EXPECT_EQ(error_of({"experts.1.up_proj"}),
            "target_modules: 1 of the 3 experts beside model.layers.1.mlp.experts.0.gate_proj have "
            "an adapter of up_proj: all or none must");
  LoraSpec unlike = lora_spec({"up_proj"});
  unlike.rank_pattern = {{"experts.1.up_proj", 3}};
  EXPECT_EQ(
      user_error([&] { layout::make_adapters(mixed_spec(), unlike); }),
      "rank_pattern, alpha_pattern: model.layers.1.mlp.experts.1.up_proj has r 3 and alpha 6, "
      "an expert before it r 2 and alpha 6: all experts of a layer must have the same");
  EXPECT_EQ(error_of({"q_proj"}, 0), "lora_r 0: the rank of adapters must be at least 1");
}

TEST(Adapters, StartIsPeftsAndRepeats) {
  const config::ModelSpec spec = mixed_spec();
  const layout::Adapters adapters = layout::make_adapters(spec, lora_spec({"all-linear"}, 16));
  std::vector<at::Tensor> blocks = numbered_blocks(adapters), again = numbered_blocks(adapters);
  initialise_adapters(adapters, 7, blocks);
  initialise_adapters(adapters, 7, again);
  for (size_t b = 0; b < blocks.size(); ++b) EXPECT_TRUE(blocks[b].equal(again[b]));
  initialise_adapters(adapters, 8, again);
  EXPECT_FALSE(blocks[1].equal(again[1]));
  const LayerAdapters views = layer_adapters(spec, adapters, 0, blocks[1]);
  const double bound = 1 / std::sqrt(12.0);
  EXPECT_LE(views.qkv.adapter.a.abs().max().item<double>(), bound);
  EXPECT_NEAR(views.qkv.adapter.a.std().item<double>(), bound / std::sqrt(3.0), 0.01);
  EXPECT_NEAR(views.qkv.adapter.a.mean().item<double>(), 0, 0.02);
  EXPECT_EQ(views.qkv.adapter.parts[0].b.abs().max().item<float>(), 0);
  EXPECT_FALSE(views.qkv.adapter.a.narrow(0, 0, 16).equal(views.qkv.adapter.a.narrow(0, 16, 16)));
}

// Both ways of storing experts, on disk and back.
class AdapterFiles : public testing::Test {
 protected:
  std::string write(const layout::Adapters& adapters, const std::vector<at::Tensor>& blocks,
                    config::ExpertAdapters kind) {
    const std::string folder = folder_ / "adapter";
    io::posix().remove_all(folder);
    io::posix().make_folder(folder);
    io::write_safetensors(io::posix(), folder + "/adapter_model.safetensors",
                          adapter_sources(spec_, adapters, blocks, kind));
    io::write_text(io::posix(), folder + "/adapter_config.json",
                   peft_config_json(peft_config(spec_, adapters, kind, "/base")).dump());
    return folder;
  }

  void expect_round_trip(const LoraSpec& lora, config::ExpertAdapters kind) {
    const layout::Adapters adapters = layout::make_adapters(spec_, lora);
    const auto blocks = numbered_blocks(adapters);
    const AdapterFolder read(write(adapters, blocks, kind), spec_);
    EXPECT_EQ(read.adapters().lora.rank, lora.rank);
    EXPECT_NEAR(read.adapters().lora.scale(), lora.scale(), 1e-12);
    std::vector<at::Tensor> found = numbered_blocks(read.adapters());
    read.load(found);
    for (size_t b = 0; b < blocks.size(); ++b) {
      ASSERT_EQ(adapters.layout.blocks[b].params.size(),
                read.adapters().layout.blocks[b].params.size());
      for (const layout::ParamInfo& info : adapters.layout.blocks[b].params) {
        EXPECT_TRUE(param_view(found[b], info).equal(param_view(blocks[b], info))) << info.name;
      }
    }
  }

  config::ModelSpec spec_ = mixed_spec();
  TestFolder folder_;
};

TEST_F(AdapterFiles, ComeBackBitForBit) {
  for (const auto kind : {config::ExpertAdapters::kModules, config::ExpertAdapters::kParameters}) {
    expect_round_trip(lora_spec({"all-linear"}), kind);
    expect_round_trip(lora_spec({"q_proj", "gate_proj", "up_proj"}), kind);
    expect_round_trip(lora_spec({"down_proj"}), kind);
    expect_round_trip(lora_spec({"o_proj"}), kind);
    LoraSpec rslora = lora_spec({"all-linear"}, 3);
    rslora.rslora = true;
    expect_round_trip(rslora, kind);
    LoraSpec patterns = lora_spec({"all-linear"}, 3);
    patterns.rank_pattern = {{"experts.*(gate|up)_proj", 4}, {"down_proj", 1}, {"q_proj", 5}};
    patterns.alpha_pattern = {{"down_proj", 2}, {"model.layers.1.self_attn.o_proj", 9}};
    patterns.modules_to_save = {"embed_tokens", "lm_head", "norm", "gate"};
    expect_round_trip(patterns, kind);
  }
  expect_round_trip(lora_spec({"model.layers.1.self_attn.q_proj"}),
                    config::ExpertAdapters::kModules);
}

TEST_F(AdapterFiles, TheFormThatPeftReadsRightly) {
  const auto chosen = [&](std::vector<std::string> targets, bool rslora = false) {
    LoraSpec lora = lora_spec(std::move(targets));
    lora.rslora = rslora;
    return resolve_expert_adapters(config::ExpertAdapters::kAuto, spec_,
                                   layout::make_adapters(spec_, lora));
  };
  EXPECT_EQ(chosen({"all-linear"}), config::ExpertAdapters::kModules);
  EXPECT_EQ(chosen({"all-linear"}, true), config::ExpertAdapters::kParameters);
  EXPECT_EQ(chosen({"down_proj"}, true), config::ExpertAdapters::kModules);
  EXPECT_EQ(chosen({"gate_proj", "up_proj"}), config::ExpertAdapters::kParameters);
  EXPECT_EQ(chosen({"q_proj", "up_proj"}), config::ExpertAdapters::kParameters);
  EXPECT_EQ(chosen({"q_proj"}, true), config::ExpertAdapters::kModules);
}

TEST_F(AdapterFiles, AnotherModelIsRefusedByTensorAndShapes) {
  const layout::Adapters adapters = layout::make_adapters(spec_, lora_spec({"q_proj"}));
  const std::string folder =
      write(adapters, numbered_blocks(adapters), config::ExpertAdapters::kModules);
  spec_.hidden = 16;
  EXPECT_EQ(user_error([&] { AdapterFolder(folder, spec_); }),
            folder +
                "/adapter_model.safetensors: tensor "
                "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight has shape "
                "[2, 12], this model and the r of adapter_config.json ask for [2, 16]: is the "
                "adapter of another model (/base)?");
}

}  // namespace
}  // namespace trireme::model
