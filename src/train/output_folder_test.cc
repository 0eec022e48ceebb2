// What a LoRA run leaves behind.
#include "train/output_folder.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <set>

#include "base/testing.h"
#include "model/model_io.h"

namespace trireme::train {
namespace {

using Names = std::set<std::string>;

class LoraOutput : public testing::Test {
 protected:
  LoraOutput() {
    const config::Json json = {{"model_type", "llama"},  {"hidden_size", 16},
                               {"num_hidden_layers", 2}, {"num_attention_heads", 2},
                               {"vocab_size", 10},       {"intermediate_size", 24}};
    const auto spec = config::parse_model_spec(json, "config.json");
    const layout::ModelLayout layout = layout::make_layout(spec);
    std::vector<at::Tensor> blocks;
    for (const auto& block : layout.blocks) blocks.push_back(at::full({block.numel}, 0.5));
    folder_.write("model/config.json", json.dump());
    folder_.write("model/tokenizer.json", "{}");
    io::write_shards(io::posix(), folder_ / "model",
                     model::tensor_sources(layout, model::held_blocks(blocks), io::DType::kF32));
    run_.model = folder_ / "model";
    run_.output_dir = folder_ / "out";
    run_.use_lora = true;
    run_.target_modules = "q_proj,down_proj";
  }

  static std::vector<at::Tensor> adapter_blocks(const model::ModelFolder& model) {
    std::vector<at::Tensor> blocks;
    for (const auto& block : model.trained_layout().blocks) {
      blocks.push_back(at::empty({block.numel}));
    }
    model.load_adapters(1, blocks);
    return blocks;
  }

  Names names(const std::string& folder) const {
    Names list;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / folder)) {
      list.insert(entry.path().filename());
    }
    return list;
  }

  TestFolder folder_;
  config::RunConfig run_;
};

const Names kAdapter = {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"};

TEST_F(LoraOutput, IsPeftFolders) {
  const model::ModelFolder model(run_, run_);
  ASSERT_TRUE(model.adapters);
  EXPECT_EQ(&model.trained_layout(), &model.adapters->layout);
  const auto blocks = adapter_blocks(model);
  OutputFolder output(io::posix(), run_, model);
  output.prepare();
  output.save_checkpoint(5, model::held_blocks(blocks));
  EXPECT_EQ(names("out/checkpoint-5"), kAdapter);
  output.save_best(model::held_blocks(blocks));
  EXPECT_EQ(names("out/best"), kAdapter);
  output.write_run({});
  output.finish();
  Names all = kAdapter;
  all.insert({"checkpoint-5", "run.json", "metrics.jsonl"});
  EXPECT_EQ(names("out"), all);
  // A second run may take the folder.
  run_.overwrite = true;
  OutputFolder(io::posix(), run_, model).prepare();
  EXPECT_EQ(names("out"), Names{"metrics.jsonl"});
}

TEST_F(LoraOutput, IsWhatTheNextRunStartsFrom) {
  const model::ModelFolder model(run_, run_);
  const auto blocks = adapter_blocks(model);
  OutputFolder output(io::posix(), run_, model);
  output.prepare();
  const std::string checkpoint = output.save_checkpoint(1, model::held_blocks(blocks));
  config::RunConfig next = run_;
  next.adapter = checkpoint;
  next.target_modules = "all-linear";  // the adapter's own count
  next.lora_dropout = 0.25;
  const model::ModelFolder again(next, next);
  EXPECT_EQ(again.adapters->lora.target_modules, (std::vector<std::string>{"down_proj", "q_proj"}));
  EXPECT_EQ(again.adapters->lora.dropout, 0.25);
  const auto found = adapter_blocks(again);
  for (size_t b = 0; b < blocks.size(); ++b) EXPECT_TRUE(found[b].equal(blocks[b]));
  next.overwrite = true;
  EXPECT_NE(user_error([&] {
              OutputFolder(io::posix(), next, again).prepare();
            }).find("is or holds the folder of the adapter that is read"),
            std::string::npos);
}

TEST_F(LoraOutput, WithoutLoraTheModelIsTrained) {
  run_.use_lora = false;
  const model::ModelFolder model(run_, run_);
  EXPECT_FALSE(model.adapters);
  EXPECT_EQ(&model.trained_layout(), &model.layout);
}

TEST_F(LoraOutput, WeightsThatAreNotFiniteAreNotWritten) {
  const model::ModelFolder model(run_, run_);
  auto blocks = adapter_blocks(model);
  OutputFolder output(io::posix(), run_, model);
  output.prepare();
  output.save_checkpoint(1, model::held_blocks(blocks));
  blocks[1][model.adapters->layout.blocks[1].params[0].offset + 3] = std::nan("");
  const auto save = [&] { output.save_checkpoint(2, model::held_blocks(blocks)); };
  EXPECT_NE(user_error(save).find("checkpoint-2: not written"), std::string::npos);
  EXPECT_NE(user_error(save).find("has nan at [0, 3] as F32"), std::string::npos);
  EXPECT_EQ(names("out"), Names({"checkpoint-1", "metrics.jsonl"}));
}

// 1e5 is a number in training, and none in a float16 file.
TEST_F(LoraOutput, AModelIsNotWrittenInADtypeThatCannotHoldIt) {
  config::Json json = config::read_json(folder_ / "model/config.json");
  json["dtype"] = "float16";
  folder_.write("model/config.json", json.dump());
  run_.use_lora = false;
  const model::ModelFolder model(run_, run_);
  std::vector<at::Tensor> blocks;
  for (const auto& block : model.layout.blocks) blocks.push_back(at::full({block.numel}, 1e5));
  OutputFolder output(io::posix(), run_, model);
  output.prepare();
  const auto save = [&] { output.save_best(model::held_blocks(blocks)); };
  EXPECT_NE(user_error(save).find(" has inf at [0, 0] as F16"), std::string::npos);
  EXPECT_EQ(names("out"), Names({"metrics.jsonl"}));
}

}  // namespace
}  // namespace trireme::train
