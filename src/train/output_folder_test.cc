// What a LoRA run leaves behind.
#include "train/output_folder.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <set>

#include "base/log.h"
#include "base/testing.h"
#include "config/json.h"
#include "io/faulty_files.h"
#include "model/model_io.h"

namespace trireme::train {
namespace {

using Names = std::set<std::string>;

const io::Manifest kFirst = {.version = "1", .commit = "c", .kind = "", .run = "first"};
const io::Manifest kSecond = {.version = "1", .commit = "c", .kind = "", .run = "second"};
const config::Json kRun = {{"trireme", {{"version", "1"}, {"commit", "c"}}}};

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
    for (const auto& entry :
         std::filesystem::directory_iterator(folder.starts_with('/') ? folder : folder_ / folder)) {
      list.insert(entry.path().filename());
    }
    return list;
  }

  TestFolder folder_;
  config::RunConfig run_;
};

const Names kAdapter = {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json",
                        "trireme.json"};

TEST_F(LoraOutput, IsPeftFolders) {
  const model::ModelFolder model(run_, run_);
  ASSERT_TRUE(model.adapters);
  EXPECT_EQ(&model.trained_layout(), &model.adapters->layout);
  const auto blocks = adapter_blocks(model);
  OutputFolder output(io::posix(), run_, model, kFirst);
  output.prepare();
  output.save_checkpoint(5, model::held_blocks(blocks));
  EXPECT_EQ(names("out/checkpoint-5"), kAdapter);
  output.save_best(model::held_blocks(blocks));
  EXPECT_EQ(names("out/best"), kAdapter);
  output.begin(kRun);
  output.finish();
  Names all = kAdapter;
  // The lock goes with the object.
  all.insert({"checkpoint-5", "run.json", "metrics.jsonl", ".trireme.lock"});
  EXPECT_EQ(names("out"), all);
}

// A file of the user, a first run's checkpoints and result, a second run over it.
class Killed : public LoraOutput {
 protected:
  Killed() : place_(io::quick_place()) {
    run_.output_dir = place_ / "out";
    run_.save_total_limit = 1;
    run_.overwrite = true;
  }

  void run(io::FileSystem& files, const model::ModelFolder& model, const io::Manifest& who,
           std::initializer_list<int64_t> steps) {
    const auto weights = model::held_blocks(blocks_);
    OutputFolder output(files, run_, model, who);
    output.prepare();
    output.begin(kRun);
    for (const int64_t step : steps) output.save_checkpoint(step, weights);
    output.save_best(weights);
    output.finish();
  }

  // Every folder with a configuration under a final name loads; returns their number.
  int loadable(const model::ModelFolder& model) {
    int count = 0;
    for (const std::string name :
         {"", "/best", "/checkpoint-2", "/checkpoint-4", "/checkpoint-6"}) {
      config::RunConfig reads = run_;
      reads.adapter = run_.output_dir + name;
      if (!std::filesystem::exists(reads.adapter + "/adapter_config.json")) continue;
      const auto found = adapter_blocks(model::ModelFolder(reads, reads));
      for (size_t b = 0; b < found.size(); ++b) EXPECT_TRUE(found[b].equal(blocks_[b])) << name;
      ++count;
    }
    return count;
  }

  TestFolder place_;
  std::vector<at::Tensor> blocks_;
};

TEST_F(Killed, AtEachOperationWholeFoldersAreLeftAndTheNextRunWorks) {
  const model::ModelFolder model(run_, run_);
  blocks_ = adapter_blocks(model);
  only_warn(true);
  io::FaultyFiles healthy({}, true);
  run(healthy, model, kFirst, {2, 4});
  place_.write("out/notes.txt", "mine");
  place_.write("out/best.old/notes.txt", "mine");
  std::filesystem::rename(run_.output_dir, place_ / "start");
  for (const bool modern : {true, false}) {  // links and exchanges
    for (const bool crash : {true, false}) {
      for (int at = 1;; ++at) {
        SCOPED_TRACE(fmt::format("modern {} crash {} at {}", modern, crash, at));
        std::filesystem::remove_all(run_.output_dir);
        std::filesystem::copy(place_ / "start", run_.output_dir,
                              std::filesystem::copy_options::recursive);
        io::FaultyFiles files({at, crash}, modern);
        const std::string error = user_error([&] { run(files, model, kSecond, {4, 6}); });
        EXPECT_GE(loadable(model), 1) << error;
        if (at > static_cast<int>(files.log().size())) break;
        run(healthy, model, kFirst, {2, 4});
        Names expected = kAdapter;
        expected.insert({"checkpoint-4", "run.json", "metrics.jsonl", "notes.txt", "best.old"});
        std::filesystem::remove(place_ / "out/.trireme.lock");
        EXPECT_EQ(names(run_.output_dir), expected) << error;
        EXPECT_EQ(io::read_text(place_ / "out/best.old/notes.txt"), "mine");
        if (HasFailure()) return;
      }
    }
  }
}

// Nothing of the first run goes before the second one's result is there.
TEST_F(Killed, AnEarlierResultStaysUntilTheNewOneIsThere) {
  const model::ModelFolder model(run_, run_);
  blocks_ = adapter_blocks(model);
  run(io::posix(), model, kFirst, {2, 4});
  const Names before = names(run_.output_dir);
  OutputFolder second(io::posix(), run_, model, kSecond);
  second.prepare();
  second.begin(kRun);
  Names now = names(run_.output_dir);
  now.erase(".trireme.lock");
  EXPECT_EQ(now, before);
  EXPECT_NE(user_error([&] {
              OutputFolder(io::posix(), run_, model, kFirst).prepare();
            }).find("in use by another run"),
            std::string::npos);
  second.save_checkpoint(6, model::held_blocks(blocks_));
  second.save_checkpoint(8, model::held_blocks(blocks_));
  now = names(run_.output_dir);
  EXPECT_TRUE(now.contains("checkpoint-4")) << "of the first run: not counted by the rotation";
  EXPECT_FALSE(now.contains("checkpoint-6"));
}

// Of other programs, by name alone like ours.
TEST_F(Killed, WhatIsNotOursIsRefusedAndStays) {
  const model::ModelFolder model(run_, run_);
  const auto refused = [&](const std::string& says) {
    const std::string error =
        user_error([&] { OutputFolder(io::posix(), run_, model, kFirst).prepare(); });
    EXPECT_NE(error.find(says), std::string::npos) << error;
    EXPECT_FALSE(std::filesystem::exists(place_ / "out/.trireme.lock"));
  };
  place_.write("out/run.json", R"({"tool": "another"})");
  refused("holds run.json: no run of trireme wrote it");
  place_.write("out/run.json", config::json_text(kRun, 2));
  for (const std::string name : {"config.json", "checkpoint-500/w.bin", "model-best.safetensors"}) {
    place_.write("out/" + name, "mine");
    refused(fmt::format("holds {}", name.substr(0, name.find('/'))));
    EXPECT_EQ(io::read_text(place_ / ("out/" + name)), "mine");
    std::filesystem::remove_all(place_ / ("out/" + name.substr(0, name.find('/'))));
  }
  place_.write("theirs.jsonl", "mine");
  std::filesystem::create_symlink(place_ / "theirs.jsonl", place_ / "out/metrics.jsonl");
  refused("holds metrics.jsonl");
  EXPECT_EQ(io::read_text(place_ / "theirs.jsonl"), "mine");
  std::filesystem::remove_all(place_ / "out");
  place_.write("out/thesis.txt", "mine");
  refused("holds thesis.txt, and nothing of an earlier run");
}

TEST_F(LoraOutput, IsWhatTheNextRunStartsFrom) {
  const model::ModelFolder model(run_, run_);
  const auto blocks = adapter_blocks(model);
  OutputFolder output(io::posix(), run_, model, kFirst);
  output.prepare();
  const std::string checkpoint = output.save_checkpoint(1, model::held_blocks(blocks));
  config::RunConfig next = run_;
  next.adapter = checkpoint;
  next.target_modules = "all-linear";  // the adapter's own count
  next.lora_dropout = 0.25;
  const model::ModelFolder again(next, next);
  EXPECT_EQ(again.adapters->lora.target_modules, (std::vector<std::string>{"q_proj", "down_proj"}));
  EXPECT_EQ(again.adapters->lora.dropout, 0.25);
  const auto found = adapter_blocks(again);
  for (size_t b = 0; b < blocks.size(); ++b) EXPECT_TRUE(found[b].equal(blocks[b]));
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
  OutputFolder output(io::posix(), run_, model, kFirst);
  output.prepare();
  output.save_checkpoint(1, model::held_blocks(blocks));
  blocks[1][model.adapters->layout.blocks[1].params[0].offset + 3] = std::nan("");
  const auto save = [&] { output.save_checkpoint(2, model::held_blocks(blocks)); };
  EXPECT_NE(user_error(save).find("checkpoint-2: not written"), std::string::npos);
  EXPECT_NE(user_error(save).find("has nan at [0, 3] as F32"), std::string::npos);
  EXPECT_EQ(names("out"), Names({"checkpoint-1", ".trireme.lock"}));
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
  OutputFolder output(io::posix(), run_, model, kFirst);
  output.prepare();
  const auto save = [&] { output.save_best(model::held_blocks(blocks)); };
  EXPECT_NE(user_error(save).find(" has inf at [0, 0] as F16"), std::string::npos);
  EXPECT_EQ(names("out"), Names({".trireme.lock"}));
}

}  // namespace
}  // namespace trireme::train
