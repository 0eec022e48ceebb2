#include "config/folder_kind.h"

#include <gtest/gtest.h>

#include "base/testing.h"

namespace trireme::config {
namespace {

TEST(OtherFolder, WhatIsOftenGivenIsNamed) {
  for (const auto& [names, says] : std::vector<std::pair<std::vector<const char*>, const char*>>{
           {{"adapter_config.json", "adapter_model.safetensors"}, "an adapter, not a model"},
           {{"README.md", "m-Q4.gguf"}, "m-Q4.gguf is for llama.cpp"},
           {{"training_args.bin", "pytorch_model-00001-of-00002.bin"},
            "its weights are in pytorch_m"},
           {{"consolidated.00.pth", "params.json"}, "its weights are in consolidated.00.pth"},
           {{"zero_to_fp32.py", "latest"}, "a checkpoint of DeepSpeed's states"},
           {{"global_step3/zero.pt"}, "a checkpoint of DeepSpeed's states"},
           {{"optimizer.pt", "rng_state.pth", "scheduler.pt"}, "a checkpoint of HF Trainer"},
           {{"tokenizer.json"}, "only a tokenizer is here"},
           {{"notes.txt"}, ""},
           {{}, ""}}) {
    const TestFolder folder;
    for (const char* name : names) folder.write(name, "");
    const std::string other = other_folder(folder.path());
    EXPECT_TRUE(other.starts_with(says)) << says << ": " << other;
    EXPECT_EQ(other.empty(), std::string_view(says).empty());
  }
}

TEST(OtherFolder, AModelBelowIsPointedTo) {
  const TestFolder folder;
  folder.write("snapshots/abc/config.json", "{}");
  folder.write("refs/main", "abc");
  EXPECT_TRUE(other_folder(folder.path()).ends_with("give " + folder.path() + "/snapshots/abc"));
  const TestFolder run;
  run.write("checkpoint-20/config.json", "{}");
  run.write("checkpoint-30/trainer_state.json", "{}");
  EXPECT_TRUE(other_folder(run.path()).ends_with("give " + run.path() + "/checkpoint-20"));
}

}  // namespace
}  // namespace trireme::config
