// Checkpoints whose saving fails, is killed or loses the power at each of its operations; and what
// is read of them.
#include "train/checkpoint.h"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/testing.h"
#include "io/faulty_files.h"
#include "io/powerless_files.h"
#include "model/model_io.h"
#include "ops/testing.h"

namespace trireme::train {
namespace {

namespace fs = std::filesystem;

const io::Manifest kRun = {.version = "1", .commit = "c", .kind = "", .run = "this"};
const config::Json kAbout = {{"trireme", {{"version", "1"}, {"commit", "c"}}}, {"run", "this"}};

// A LoRA run on the CPU, alone; weights and moments of a step are the step's number and others.
class Saves : public testing::Test {
 protected:
  Saves() : place_(io::quick_place()) {
    const config::Json json = {{"model_type", "llama"},  {"hidden_size", 16},
                               {"num_hidden_layers", 1}, {"num_attention_heads", 2},
                               {"vocab_size", 10},       {"intermediate_size", 24}};
    const auto spec = config::parse_model_spec(json, "config.json");
    const layout::ModelLayout layout = layout::make_layout(spec);
    std::vector<at::Tensor> blocks;
    for (const auto& block : layout.blocks) blocks.push_back(at::full({block.numel}, 0.5));
    place_.write("model/config.json", json.dump());
    place_.write("model/tokenizer.json", "{}");
    io::write_shards(io::posix(), place_ / "model",
                     model::tensor_sources(layout, model::held_blocks(blocks), io::DType::kF32));
    run_.model = place_ / "model";
    run_.output_dir = place_ / "disk/out";
    run_.use_lora = true;
    run_.target_modules = "q_proj";
    run_.save_total_limit = 1;
    model_.emplace(run_, run_);
  }

  // The state that a run has after this step.
  struct State {
    explicit State(const layout::ModelLayout& layout)
        : params(layout, at::kFloat, at::kCPU, {}), optimizer(layout, params, at::kCPU, {}) {}
    void set(double step) {
      for (const at::Tensor& master : params.master()) master.fill_(step);
      for (const auto& part : optimizer.parts()) {
        part.moments.first.fill_(step + 0.25);
        part.moments.second.fill_(step + 0.5);
      }
    }
    state::ResidentParams params;
    state::AdamW optimizer;
  };

  // A run that saves after these steps, until its files fail. Returns the steps that it knows to be
  // saved.
  std::vector<int64_t> save(io::FileSystem& files, const std::string& output,
                            std::initializer_list<int64_t> steps) {
    config::RunConfig run = run_;
    run.output_dir = output;
    std::vector<int64_t> saved;
    const dist::Mesh alone;
    State state(model_->trained_layout());
    try {
      OutputFolder folder(files, run, *model_, kRun);
      folder.prepare();
      folder.begin(kAbout);
      CheckpointWriter writer(files, folder,
                              {model_->trained_layout(), state.params, state.optimizer, {}}, alone);
      for (const int64_t step : steps) {
        state.set(static_cast<double>(step));
        io::Record record{
            .progress = {.steps = step}, .identity = {{"a", "b"}}, .options = {{"x", 1}}};
        if (writer.save(record, false).error.empty()) saved.push_back(step);
      }
    } catch (const UserError&) {  // before the first save
    }
    return saved;
  }

  // The newest checkpoint that is whole, with its content as of its step; -1: there is none.
  int64_t newest(const std::string& output) {
    config::RunConfig run = run_;
    run.output_dir = output;
    if (!fs::exists(output)) return -1;
    const OutputFolder folder(io::posix(), run, *model_, kRun);
    for (const std::string& path : folder.last_run().checkpoints) {
      if (!damage_of(path, /*hashes=*/true).empty()) continue;
      const int64_t step = io::read_record(path).progress.steps;
      State state(model_->trained_layout()), expected(model_->trained_layout());
      state::load_state(io::StateFiles(path), model_->trained_layout(), state.params,
                        state.optimizer);
      const auto value = static_cast<float>(step);
      for (const auto& part : state.optimizer.parts()) {
        EXPECT_EQ(part.moments.first.max().item<float>(), value + 0.25F) << path;
        EXPECT_EQ(part.moments.second.max().item<float>(), value + 0.5F) << path;
        EXPECT_EQ(state.params.master()[part.block].max().item<float>(), value) << path;
      }
      config::RunConfig reads = run_;
      reads.adapter = path;
      EXPECT_TRUE(model::ModelFolder(reads, reads).adapters) << path;
      return step;
    }
    return -1;
  }

  // A folder without anything in it.
  std::string empty(const std::string& name) {
    fs::remove_all(place_ / name);
    fs::create_directory(place_ / name);
    return place_ / name;
  }

  TestFolder place_;
  config::RunConfig run_;
  std::optional<model::ModelFolder> model_;
};

// Whatever operation fails or is the last: what was known to be saved last is there, or a newer
// one.
TEST_F(Saves, AtEachOperationTheLastOneKnownIsWhole) {
  for (const bool crash : {false, true}) {
    for (int at = 1; !HasFailure(); ++at) {
      const std::string disk = empty("disk");
      io::FaultyFiles files({at, crash}, true);
      testing::internal::CaptureStderr();
      const std::vector<int64_t> saved = save(files, disk + "/out", {1, 2, 3});
      const int64_t found = newest(disk + "/out");
      testing::internal::GetCapturedStderr();
      const int64_t known = saved.empty() ? -1 : saved.back();
      EXPECT_GE(found, known) << "operation " << at << (crash ? " crashed: " : " failed: ")
                              << files.log().back();
      // A save that fails is not the last: the next one is there.
      if (!crash && saved.size() + 1 < 3 && found > 0)
        ADD_FAILURE() << "two saves failed at " << at;
      if (at > static_cast<int>(files.log().size())) {
        EXPECT_GT(at, 80) << "operations tried";
        EXPECT_EQ(found, 3);
        break;
      }
    }
  }
}

// The power fails: what was not synced is gone, or was written all the same.
TEST_F(Saves, APowerFailureAtEachOperationLeavesTheLastOneKnown) {
  for (int at = 1; !HasFailure(); ++at) {
    const std::string disk = empty("disk");
    io::PowerlessFiles files(disk, at);
    testing::internal::CaptureStderr();
    const std::vector<int64_t> saved = save(files, disk + "/out", {1, 2, 3});
    const int64_t known = saved.empty() ? -1 : saved.back();
    for (const uint64_t seed : {0, 1, 2, 3}) {
      const std::string left = empty("left");
      files.leave(left, seed);
      EXPECT_GE(newest(left + "/out"), known) << "operation " << at << ", seed " << seed;
    }
    testing::internal::GetCapturedStderr();
    if (at > files.operations()) {
      EXPECT_GT(at, 80) << "operations tried";
      break;
    }
  }
}

}  // namespace
}  // namespace trireme::train
