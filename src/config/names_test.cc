#include "config/names.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "base/error.h"
#include "config/run_config_file.h"

namespace trireme::config {
namespace {

RunConfig parse(const std::vector<std::string>& arguments, Verb verb = kTrain) {
  return parse_command_line(verb, arguments);
}

template <typename Function>
std::string error_of(const Function& function) {
  try {
    function();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

std::string error_of_flags(const std::vector<std::string>& arguments, Verb verb = kTrain) {
  return error_of([&] { parse(arguments, verb); });
}

RunConfig read(const std::string& text) {
  RunConfig run;
  auto ablations = built_in_ablations();
  parse_run_config(text, "c.json", run, ablations);
  return run;
}

TEST(Names, TheTableIsInOrder) {
  std::set<std::pair<std::string_view, std::string_view>> rows;
  std::set<std::string_view> closed, names;
  std::string_view last;
  for (const ForeignName& row : foreign_names()) {
    EXPECT_TRUE(rows.insert({row.name, row.value}).second) << row.name << " " << row.value;
    EXPECT_FALSE(closed.contains(row.name)) << row.name << ": a row after that for any value";
    EXPECT_TRUE(row.name == last || names.insert(row.name).second)
        << row.name << " is in two places";
    last = row.name;
    if (row.value.empty()) closed.insert(row.name);
    // A name of ours is there with values of others alone.
    EXPECT_FALSE(find_option(row.name) != nullptr && row.value.empty()) << row.name;
    if (row.fate != NameFate::kAlias) continue;
    const Option* option = find_option(row.text);
    ASSERT_NE(option, nullptr) << row.name;
    RunConfig run;
    if (!row.ours.empty()) set_option(run, *option, std::string(row.ours), "here");
  }
  EXPECT_GE(names.size(), 80u);
}

TEST(Names, OptionsByOtherNames) {
  const RunConfig run = parse({"--model_name_or_path",
                               "m",
                               "--train_file=d.csv",
                               "--num_train_epochs",
                               "3.0",
                               "--per-device-train-batch-size",
                               "2",
                               "--cutoff_len",
                               "4096",
                               "--finetuning_type",
                               "lora",
                               "--lora_rank",
                               "16",
                               "--lora_target",
                               "all",
                               "--lr_scheduler_type",
                               "constant_with_warmup",
                               "--max_steps",
                               "-1",
                               "--optim",
                               "adamw_bnb_8bit",
                               "--bf16",
                               "--val_size",
                               "0.2",
                               "--sample_packing",
                               "False"});
  EXPECT_EQ(run.model, "m");
  EXPECT_EQ(run.data_file, "d.csv");
  EXPECT_EQ(run.max_epochs, 3);
  EXPECT_EQ(run.batch_size, 2);
  EXPECT_EQ(run.max_length, 4096);
  EXPECT_TRUE(run.use_lora);
  EXPECT_EQ(run.lora_r, 16);
  EXPECT_EQ(run.target_modules, "all-linear");
  EXPECT_EQ(run.lr_scheduler_type, LrScheduler::kConstant);
  EXPECT_EQ(run.max_steps, 0);
  EXPECT_EQ(run.moments_dtype, MomentFormat::kEightBit);
  EXPECT_EQ(run.dtype, DtypeChoice::kAuto);
  EXPECT_EQ(run.val_ratio, 0.2);
  EXPECT_FALSE(run.packing);
  EXPECT_EQ(run.given.at("max_epochs"), "--num_train_epochs");
  EXPECT_EQ(run.remarks[2], "--num_train_epochs 3.0 is --max_epochs 3.0");
  EXPECT_EQ(parse({"--bf16", "false"}).dtype, DtypeChoice::kFloat32);
  EXPECT_EQ(parse({"--max_seq_length", "9"}, kData).max_length, 9);
}

TEST(Names, WhatIsNotNeededIsSaid) {
  const RunConfig run = parse({"--gradient_checkpointing", "true", "--flash_attn", "fa2",
                               "--report_to=none", "--resume_from_checkpoint", "False"});
  EXPECT_TRUE(run.given.empty());
  ASSERT_EQ(run.remarks.size(), 4u);
  EXPECT_EQ(run.remarks[0],
            "--gradient_checkpointing true: not needed: what is kept and what is recomputed is "
            "planned: --keep");
}

TEST(Names, WhatIsNotBuiltIsRefusedWithWhatToDo) {
  EXPECT_EQ(error_of_flags({"--fp16"}),
            "--fp16 true: float16 training is not built: give --dtype bfloat16");
  EXPECT_EQ(error_of_flags({"--finetuning_type", "freeze"}),
            "--finetuning_type freeze: not built: lora or full is expected");
  EXPECT_EQ(error_of_flags({"--num_train_epochs", "0.5"}),
            "--num_train_epochs: 0.5 is not a whole number");
  EXPECT_EQ(error_of_flags({"--lora_rank"}), "--lora_rank: a value is missing after it");
  EXPECT_EQ(error_of_flags({"--num_train_epochs", "3"}, kData),
            "--num_train_epochs: not an option of trireme data: see trireme data --help");
  EXPECT_EQ(error_of_flags({"--lora_rank", "4"}),
            "--lora_rank: without effect, since LoRA is off: give --use_lora too, or leave it out");
}

TEST(Names, TwoNamesOfOneOptionMustAgree) {
  EXPECT_EQ(error_of_flags({"--num_train_epochs", "3", "--max_epochs", "2"}),
            "--max_epochs 2: --num_train_epochs 3 was given too, and both are --max_epochs: remove "
            "one");
  EXPECT_EQ(error_of_flags({"--cutoff_len", "8", "--sequence_len", "9"}),
            "--sequence_len 9: --cutoff_len 8 was given too, and both are --max_length: remove "
            "one");
  EXPECT_EQ(error_of_flags({"--bf16", "true", "--dtype", "float32"}),
            "--dtype float32: --bf16 true was given too, and both are --dtype: remove one");
  EXPECT_EQ(parse({"--num_train_epochs", "3.0", "--max-epochs", "3"}).max_epochs, 3);
  EXPECT_EQ(parse({"--max-epochs", "4", "--max_epochs", "3"}).max_epochs, 3) << "the last";
}

TEST(Names, InTheRunConfig) {
  const RunConfig run = read(R"({
    "model": {"model_name_or_path": "m", "finetuning_type": "lora", "lora_target": ["q_proj", "v_proj"],
              "attn_implementation": "sdpa"},
    "training": {"num_train_epochs": 3.0, "bf16": true, "max_steps": -1, "warmup_ratio": null,
                 "lr_scheduler_type": "cosine"}})");
  EXPECT_EQ(run.model, "m");
  EXPECT_TRUE(run.use_lora);
  EXPECT_EQ(run.target_modules, "q_proj,v_proj");
  EXPECT_EQ(run.max_epochs, 3);
  EXPECT_EQ(run.max_steps, 0);
  EXPECT_EQ(run.lr_scheduler_type, LrScheduler::kCosine);
  EXPECT_EQ(run.remarks.size(), 7u);
  EXPECT_EQ(error_of([] { read(R"({"training": {"fp16": true}})"); }),
            "c.json:1:15: training.fp16 true: float16 training is not built: give --dtype "
            "bfloat16");
  EXPECT_EQ(error_of([] { read(R"({"training": {"max_epochs": 1, "num_train_epochs": 2}})"); }),
            "c.json:1:32: training.num_train_epochs: --max_epochs is given twice in the file: "
            "remove one");
  EXPECT_EQ(error_of([] { read(R"({"num_train_epochs": 2})"); }),
            "c.json:1:2: num_train_epochs: not a section: move the key into 'training'");
}

TEST(Names, TheCommandLineWinsOverTheRunConfigUnderAnyName) {
  const auto path = std::filesystem::temp_directory_path() / "trireme_names_test.json";
  std::ofstream(path) << R"({"training": {"max_epochs": 7}})";
  EXPECT_EQ(parse({"--config", path.string(), "--num_train_epochs", "2"}).max_epochs, 2);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace trireme::config
