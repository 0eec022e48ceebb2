#include "deepspeed/deepspeed.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "config/schema.h"
#include "deepspeed/keys.h"

namespace trireme::deepspeed {
namespace {

DeepSpeed apply(std::string_view text, config::RunConfig& run) {
  return apply_deepspeed(text, "ds.json", config::kTrain, 1, run);
}

DeepSpeed apply(std::string_view text) {
  config::RunConfig run;
  return apply(text, run);
}

std::string error_of(std::string_view text, config::RunConfig run = {}) {
  try {
    apply(text, run);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

config::RunConfig run_with(const std::vector<std::string>& arguments) {
  return config::parse_command_line(config::kTrain, arguments);
}

// "how" or "why" of a key; "" where it is not in the list.
std::string text_of(const std::vector<DeepSpeedEntry>& entries, std::string_view key) {
  for (const DeepSpeedEntry& entry : entries) {
    if (entry.key == key) return entry.text;
  }
  return "";
}

bool is_default(const DeepSpeedEntry& entry) {
  return entry.value.ends_with("(DeepSpeed's default)");
}

int64_t written(const DeepSpeed& result) {
  int64_t keys = 0;
  for (const auto* list : {&result.done, &result.no_effect}) {
    keys += std::ranges::count_if(*list, [](const auto& entry) { return !is_default(entry); });
  }
  return keys;
}

TEST(DeepSpeedKeys, TableIsInOrder) {
  std::set<std::string_view> paths;
  for (const DeepSpeedKey& key : deepspeed_keys()) {
    EXPECT_TRUE(paths.insert(key.path).second) << key.path << " is there twice";
    const size_t dot = key.path.rfind('.');
    if (dot != std::string_view::npos) {
      EXPECT_TRUE(paths.contains(key.path.substr(0, dot))) << key.path;
    }
    const bool explained = key.fate != KeyFate::kOpen;
    EXPECT_EQ(!key.text.empty(), explained) << key.path;
    EXPECT_EQ(key.fate == KeyFate::kOpen, key.kind == KeyKind::kSection && explained == false);
    if (key.fate == KeyFate::kOption) {
      EXPECT_NE(config::find_option(key.text), nullptr) << key.path;
    }
    if (key.fate == KeyFate::kAlias) {
      EXPECT_NE(find_deepspeed_key(key.text), nullptr) << key.path;
    } else {
      EXPECT_TRUE(config::Json::accept(key.fallback)) << key.path;
    }
  }
  EXPECT_GT(paths.size(), 230u);
}

// A value of the right kind for every key that is not a section, one key a file: each is read,
// and ends in a list or in one line that names it.
TEST(DeepSpeedKeys, EachEndsSomewhere) {
  for (const DeepSpeedKey& key : deepspeed_keys()) {
    if (key.kind == KeyKind::kSection) continue;
    const DeepSpeedKey& row = key.fate == KeyFate::kAlias ? *find_deepspeed_key(key.text) : key;
    std::string text = row.fallback == "null" ? "\"auto\"" : std::string(row.fallback);
    std::string_view path = key.path;
    for (size_t dot; (dot = path.rfind('.')) != std::string_view::npos;
         path = path.substr(0, dot)) {
      text = fmt::format("{{\"{}\": {}}}", path.substr(dot + 1), text);
    }
    text = fmt::format("{{\"{}\": {}}}", path, text);
    try {
      const DeepSpeed result = apply(text);
      EXPECT_EQ(written(result), 1) << text;
    } catch (const UserError& error) {
      ADD_FAILURE() << error.what();
    }
  }
}

TEST(DeepSpeed, AnEmptyFileIsDeepSpeedsDefaults) {
  config::RunConfig run;
  const DeepSpeed result = apply("{}", run);
  const DeepSpeedConfig &read = result.config, defaults;
  EXPECT_TRUE(result.done.empty() && result.no_effect.empty() && run.given.empty());
  EXPECT_EQ(read.zero_stage, defaults.zero_stage);
  EXPECT_EQ(read.overlap_comm, defaults.overlap_comm);
  EXPECT_EQ(read.reduce_bucket_size, defaults.reduce_bucket_size);
  EXPECT_EQ(read.prefetch_bucket_size, defaults.prefetch_bucket_size);
  EXPECT_EQ(read.param_persistence_threshold, defaults.param_persistence_threshold);
  EXPECT_EQ(read.allgather_bucket_size, defaults.allgather_bucket_size);
  EXPECT_EQ(read.sub_group_size, defaults.sub_group_size);
  EXPECT_EQ(read.max_live_parameters, defaults.max_live_parameters);
  EXPECT_EQ(read.max_reuse_distance, defaults.max_reuse_distance);
  EXPECT_EQ(read.offload_optimizer.pin_memory, defaults.offload_optimizer.pin_memory);
  EXPECT_EQ(read.offload_param.device, defaults.offload_param.device);
  EXPECT_EQ(read.activation_checkpointing.number_checkpoints, 0);
  EXPECT_EQ(read.communication_data_type, "");
  EXPECT_EQ(read.sequence_parallel_size, 1);
}

TEST(DeepSpeed, ValuesReachTheStruct) {
  const DeepSpeedConfig config = apply(R"({
    "zero_optimization": {"stage": 3, "reduce_bucket_size": 1e8, "prefetch_bucket_size": "auto",
      "stage3_param_persistence_threshold": 1000000.0, "max_live_parameters": 7,
      "offload_optimizer": {"device": "cpu", "ratio": 0.3, "pin_memory": false},
      "cpu_offload_param": true},
    "activation_checkpointing": {"number_checkpoints": 8, "cpu_checkpointing": true},
    "sequence_parallel": {"enabled": false, "type": "all_to_all", "size": 8},
    "tensor_parallel": {"autotp_size": 0},
    "communication_data_type": "fp16"})")
                                     .config;
  EXPECT_EQ(config.zero_stage, 3);
  EXPECT_TRUE(config.overlap_comm);
  EXPECT_EQ(config.reduce_bucket_size, 100'000'000);
  EXPECT_EQ(config.prefetch_bucket_size, std::nullopt);
  EXPECT_EQ(config.param_persistence_threshold, 1'000'000);
  EXPECT_EQ(config.max_live_parameters, 7);
  EXPECT_EQ(config.offload_optimizer.device, "cpu");
  EXPECT_EQ(config.offload_optimizer.ratio, 0.3);
  EXPECT_FALSE(config.offload_optimizer.pin_memory);
  EXPECT_EQ(config.offload_param.device, "cpu");
  EXPECT_EQ(config.activation_checkpointing.number_checkpoints, 8);
  EXPECT_TRUE(config.activation_checkpointing.cpu_checkpointing);
  EXPECT_EQ(config.sequence_parallel_type, "ulysses");
  EXPECT_EQ(config.sequence_parallel_size, 1);
  EXPECT_EQ(config.tensor_parallel_size, 1);
  EXPECT_EQ(config.communication_data_type, "fp16");
}

TEST(DeepSpeed, TheOptimizerOnTheHost) {
  for (const char* text : {R"({"zero_optimization": {"offload_optimizer": {"device": "cpu"}}})",
                           R"({"zero_optimization": {"cpu_offload": true}})"}) {
    config::RunConfig run;
    const DeepSpeed result = apply(text, run);
    EXPECT_EQ(run.offload_optimizer, config::OptimizerOffload::kCpu);
    EXPECT_EQ(error_of(text, run_with({"--offload_optimizer", "stream"})), "no error");
    EXPECT_EQ(written(result), 1);
    EXPECT_NE(error_of(text, run_with({"--offload_optimizer", "none"})).find("asks for cpu"),
              std::string::npos);
  }
}

TEST(DeepSpeed, FrozenWeightsOnTheHost) {
  constexpr auto kText = R"({"zero_optimization": {"offload_param": {"device": "cpu"}}})";
  config::RunConfig full, lora = run_with({"--use_lora"});
  EXPECT_EQ(apply(kText, full).no_effect.size(), 1u);
  EXPECT_EQ(full.offload_param, config::ParamOffload::kNone);
  EXPECT_EQ(text_of(apply(kText, lora).done, "zero_optimization.offload_param.device"),
            "--offload_param");
  EXPECT_EQ(lora.offload_param, config::ParamOffload::kCpu);
}

TEST(DeepSpeed, StatesInFewerBits) {
  config::RunConfig run;
  const DeepSpeed result = apply(R"({"bf16": {"enabled": true,
    "bf16_master_weights_and_grads": true, "bf16_optimizer_states": true}})",
                                 run);
  EXPECT_FALSE(run.master_weights);
  EXPECT_EQ(run.moments_dtype, MomentFormat::kBFloat16);
  EXPECT_EQ(text_of(result.done, "bf16.bf16_optimizer_states"), "--moments_dtype");

  constexpr auto kFull = R"({"optimizer": {"params": {"fp32_optimizer_states": true}}})";
  constexpr auto kBrain = R"({"optimizer": {"params": {"fp32_optimizer_states": false}}})";
  run = {};
  apply(kBrain, run);
  EXPECT_EQ(run.moments_dtype, MomentFormat::kBFloat16);
  run = run_with({"--moments_dtype", "8bit"});
  apply(kFull, run);
  EXPECT_EQ(run.moments_dtype, MomentFormat::kEightBit);
  EXPECT_NE(error_of(kFull, run_with({"--moments_dtype", "bfloat16"})).find("--moments_dtype says"),
            std::string::npos);
  EXPECT_NE(error_of(kBrain, run_with({"--moments_dtype", "8bit"})).find("asks for bfloat16"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"bf16": {"bf16_master_weights_and_grads": false}})",
                     run_with({"--master_weights", "false"}))
                .find("asks for true"),
            std::string::npos);
}

TEST(DeepSpeed, ExplicitValuesSetOptions) {
  config::RunConfig run;
  const DeepSpeed result = apply(R"({
    "gradient_clipping": 0.5, "steps_per_print": 3, "bf16": {"enabled": false},
    "optimizer": {"type": "AdamW",
      "params": {"lr": 3e-5, "betas": [0.8, 0.99], "eps": 1e-7, "weight_decay": 0.01}},
    "scheduler": {"type": "WarmupDecayLR",
      "params": {"warmup_min_lr": 0, "warmup_max_lr": 3e-5, "warmup_num_steps": 20,
                 "total_num_steps": "auto", "warmup_type": "linear"}}})",
                                 run);
  EXPECT_EQ(run.max_grad_norm, 0.5);
  EXPECT_EQ(run.logging_steps, 3);
  EXPECT_EQ(run.dtype, config::DtypeChoice::kFloat32);
  EXPECT_EQ(run.learning_rate, 3e-5);
  EXPECT_EQ(run.adam_beta1, 0.8);
  EXPECT_EQ(run.adam_beta2, 0.99);
  EXPECT_EQ(run.adam_epsilon, 1e-7);
  EXPECT_EQ(run.weight_decay, 0.01);
  EXPECT_EQ(run.lr_scheduler_type, config::LrScheduler::kLinear);
  EXPECT_EQ(run.warmup_steps, 20);
  EXPECT_TRUE(result.no_effect.empty());
  EXPECT_EQ(text_of(result.done, "gradient_clipping"), "--max_grad_norm");
}

TEST(DeepSpeed, AutoAndNullLeaveOptions) {
  config::RunConfig run = run_with({"--max_grad_norm", "0.25", "--batch_size", "3"});
  const config::RunConfig before = run;
  const DeepSpeed result = apply(R"({"gradient_clipping": "auto", "train_batch_size": "auto",
    "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto", "eps": null}},
    "scheduler": null, "zero_optimization": "auto"})",
                                 run);
  EXPECT_EQ(to_json(run, config::kTrain), to_json(before, config::kTrain));
  EXPECT_EQ(text_of(result.done, "optimizer.params.betas"), "the run's options decide");
  EXPECT_EQ(text_of(result.no_effect, "scheduler"), "as if it were left out");
}

TEST(DeepSpeed, MismatchesWithGivenOptions) {
  EXPECT_EQ(error_of("{\n \"gradient_clipping\": 0.5}", run_with({"--max_grad_norm", "1"})),
            "ds.json:2:2: gradient_clipping asks for 0.5, but --max_grad_norm says 1: make them "
            "equal, or write \"auto\"");
  EXPECT_EQ(error_of(R"({"gradient_clipping": 1.0})", run_with({"--max_grad_norm", "1"})),
            "no error");
  EXPECT_EQ(error_of(R"({"optimizer": {"params": {"lr": 1e-4}},
    "scheduler": {"params": {"warmup_max_lr": 2e-4}}})"),
            "ds.json:2:30: scheduler.params.warmup_max_lr asks for 0.0002, but ds.json:1:27: "
            "optimizer.params.lr says 0.0001: make them equal, or write \"auto\"");
  EXPECT_EQ(error_of(R"({"bf16": {"enabled": true}})", run_with({"--dtype", "float32"})),
            "ds.json:1:11: bf16.enabled is true, but --dtype says float32: make them agree, or "
            "write \"auto\"");
  EXPECT_EQ(error_of(R"({"gradient_clipping": -1})"),
            "ds.json:1:2: gradient_clipping: -1 is out of range: at least 0 is expected");
  EXPECT_EQ(error_of(R"({"optimizer": {"params": {"lr": 7}}})"),
            "ds.json:1:27: optimizer.params.lr: 7 is out of range: 0 to 1 is expected");
}

TEST(DeepSpeed, BatchAlgebra) {
  const auto batch = [](std::string_view text, const std::vector<std::string>& arguments = {}) {
    config::RunConfig run = run_with(arguments);
    apply(text, run);
    return std::pair(run.batch_size, run.gradient_accumulation_steps);
  };
  using Pair = std::pair<int64_t, int64_t>;
  const auto micro = R"("train_micro_batch_size_per_gpu": 4)";
  EXPECT_EQ(batch(fmt::format("{{{}}}", micro)), Pair(4, 1));
  EXPECT_EQ(batch(fmt::format("{{\"train_batch_size\": 12, {}}}", micro)), Pair(4, 3));
  EXPECT_EQ(batch(R"({"train_batch_size": 12, "gradient_accumulation_steps": 2})"), Pair(6, 2));
  EXPECT_EQ(batch(R"({"train_batch_size": 12})"), Pair(12, 1));
  EXPECT_EQ(batch(R"({"train_batch_size": 12})", {"--batch_size", "3"}), Pair(3, 4));
  EXPECT_EQ(batch(R"({"train_batch_size": 12, "train_micro_batch_size_per_gpu": "auto"})"),
            Pair(1, 12));
  EXPECT_EQ(batch(R"({"gradient_accumulation_steps": 8})"), Pair(1, 8));
  EXPECT_EQ(error_of(fmt::format(
                "{{\"train_batch_size\": 12, {}, \"gradient_accumulation_steps\": 2}}", micro)),
            "ds.json:1:2: train_batch_size is 12, but a micro-batch of 4 x 2 "
            "gradient_accumulation_steps x 1 ranks are 8: make them agree, or write \"auto\"");
  EXPECT_EQ(error_of(fmt::format("{{\"train_batch_size\": 10, {}}}", micro)),
            "ds.json:1:2: train_batch_size is 10, not a multiple of 4: no whole "
            "--gradient_accumulation_steps gives it");
  EXPECT_EQ(error_of(R"({"train_batch_size": 0})"),
            "ds.json:1:2: train_batch_size: 0 is out of range: at least 1 is expected");
}

TEST(DeepSpeed, UnknownKeysNameTheNearest) {
  EXPECT_EQ(error_of("{\n\"gradient_cliping\": 1}"),
            "ds.json:2:1: gradient_cliping: not a key of DeepSpeed that is known here (did you "
            "mean 'gradient_clipping'?): correct it, or leave it out");
  const auto named = [](std::string_view text, std::string_view name) {
    const std::string error = error_of(text);
    EXPECT_NE(error.find(fmt::format("did you mean '{}'", name)), std::string::npos) << error;
  };
  named(R"({"zero_optimization": {"stge": 3}})", "stage");
  named(R"({"activation_checkpointing": {"partitioned_activations": true}})",
        "partition_activations");
  named(R"({"stage": 3})", "zero_optimization.stage");
  named(R"({"bf16": {"enable": true}})", "enabled");
  EXPECT_EQ(error_of(R"({"bf16": {"enabled": true}, "bfloat16": {"enabled": true}})"),
            "ds.json:1:42: bfloat16.enabled: the same as bf16.enabled, which is given too: remove "
            "one");
}

TEST(DeepSpeed, WrongKinds) {
  EXPECT_EQ(error_of(R"({"bf16": {"enabled": "true"}})"),
            "ds.json:1:11: bf16.enabled: true or false is expected, found \"true\"");
  EXPECT_EQ(error_of(R"({"zero_optimization": {"stage": 2.5}})"),
            "ds.json:1:24: zero_optimization.stage: a whole number is expected, found 2.5");
  EXPECT_EQ(error_of(R"({"zero_optimization": 3})"),
            "ds.json:1:2: zero_optimization: an object is expected, found 3");
  EXPECT_EQ(apply(R"({"zero_optimization": true})").config.zero_stage, 1);
  EXPECT_EQ(error_of(R"({"zero_optimization": {"sub_group_size": 1e19}})").substr(0, 12),
            "ds.json:1:24");
  EXPECT_EQ(error_of(R"({"optimizer": {"params": {"betas": [0.9]}}})"),
            "ds.json:1:27: optimizer.params.betas: two numbers are expected, found [0.9]");
  EXPECT_EQ(error_of("[]"), "ds.json: array where an object is expected");
}

TEST(DeepSpeed, Contradictions) {
  EXPECT_EQ(error_of(R"({"bf16": {"enabled": true}, "fp16": {"enabled": true}})"),
            "ds.json:1:38: fp16.enabled: bf16.enabled is on too: switch one of them off");
  EXPECT_EQ(error_of(R"({"activation_checkpointing": {"number_checkpoints": 0}})"),
            "ds.json:1:31: activation_checkpointing.number_checkpoints: 0 is out of range: at "
            "least 1 is expected");
  EXPECT_EQ(error_of(R"({"zero_optimization": {"cpu_offload": true,
    "offload_optimizer": {"device": "none"}}})"),
            "ds.json:1:24: zero_optimization.cpu_offload is true, but "
            "zero_optimization.offload_optimizer.device is \"none\": remove one");
  EXPECT_EQ(error_of(R"({"scheduler": {"type": "WarmupLR", "params": {"total_num_steps": 90}}})",
                     run_with({"--max_steps", "80"})),
            "ds.json:1:47: scheduler.params.total_num_steps is 90, but the learning-rate "
            "schedule ends with the run, and --max_steps is 80: give --max_steps 90, or write "
            "\"auto\"");
}

TEST(DeepSpeed, WhatIsNotBuiltIsRefused) {
  const auto refused = [](std::string_view text, std::string_view says) {
    const std::string error = error_of(text);
    EXPECT_NE(error.find(says), std::string::npos) << error;
    EXPECT_TRUE(error.starts_with("ds.json:1:")) << error;
  };
  refused(R"({"fp16": {"enabled": true}})", "float16 training is not built: use bf16");
  refused(R"({"zero_optimization": {"stage": 4}})", "0, 1, 2 or 3 is expected");
  refused(R"({"zero_optimization": {"offload_param": {"device": "nvme"}}})",
          "never kept on a disk");
  refused(R"({"zero_optimization": {"offload_param": {"device": "gpu"}}})",
          "one of none, cpu, nvme is expected");
  refused(R"({"zero_optimization": {"zero_quantized_weights": true}})", "lossy communication");
  refused(R"({"optimizer": {"type": "Lamb"}})", "Lamb is not built: Adam or AdamW is expected");
  refused(
      R"({"optimizer": {"type": "Adam", "params": {"adam_w_mode": false, "weight_decay": 0.1}}})",
      "weight decay in the gradient");
  refused(R"({"scheduler": {"type": "OneCycle"}})", "OneCycle has no counterpart");
  refused(R"({"scheduler": {"params": {"warmup_min_lr": 1e-6, "warmup_num_steps": 9}}})",
          "starts at 0");
  refused(R"({"data_efficiency": {"enabled": true}})", "not built");
  refused(R"({"amp": {"enabled": true}})", "float16");
  EXPECT_EQ(error_of(R"({"data_efficiency": {"enabled": false, "seed": 1}})"), "no error");
  EXPECT_EQ(error_of(R"({"optimizer": {"type": "adam", "params": {"adam_w_mode": false}}})"),
            "no error");
}

TEST(DeepSpeed, SeveralRanksAreRefusedOnOne) {
  EXPECT_EQ(error_of(R"({"sequence_parallel": {"enabled": true, "size": 8}})"),
            "ds.json:1:41: sequence_parallel.size: 8 does not divide the one rank of this run "
            "(WORLD_SIZE): start with 8 ranks or a multiple, or give --sequence_parallel_size");
  EXPECT_NE(error_of(R"({"sequence_parallel_size": 2})").find("start with 2 ranks"),
            std::string::npos);
  for (const char* text :
       {R"({"tensor_parallel": {"autotp_size": 2}})", R"({"pipeline": {"stages": 2}})",
        R"({"expert_parallel": {"enabled": true, "autoep_size": 2}})"}) {
    EXPECT_NE(error_of(text).find("2: not built in this version: write 1"), std::string::npos)
        << text;
  }
  EXPECT_EQ(error_of(R"({"sequence_parallel": {"type": "ring", "size": 1},
    "expert_parallel": {"enabled": false, "autoep_size": 8}, "sequence_parallel_size": 1})"),
            "no error");
}

TEST(DeepSpeed, DegreesAndStageReachTheRun) {
  constexpr auto kText = R"({"zero_optimization": {"stage": 2}, "train_batch_size": 4,
    "sequence_parallel": {"size": 2, "type": "all_to_all"}})";
  config::RunConfig run;
  apply_deepspeed(kText, "ds.json", config::kTrain, /*ranks=*/4, run);
  EXPECT_EQ(run.sequence_parallel_size, 2);
  EXPECT_EQ(run.zero_stage, 2);
  // Two ranks share a sequence, so that two micro-batches of two are four samples.
  EXPECT_EQ(run.batch_size * run.gradient_accumulation_steps, 2);
  // A degree of the command line decides.
  config::RunConfig given = run_with({"--sequence_parallel_size", "4"});
  apply_deepspeed(kText, "ds.json", config::kTrain, 4, given);
  EXPECT_EQ(given.sequence_parallel_size, 4);
  EXPECT_EQ(given.batch_size * given.gradient_accumulation_steps, 4);
}

TEST(DeepSpeed, HowASequenceIsSharedReachesTheRun) {
  const auto type = [](const std::string& text, const std::vector<std::string>& arguments = {}) {
    config::RunConfig run = run_with(arguments);
    apply_deepspeed(R"({"sequence_parallel": {"size": 4, "type": ")" + text + "\"}}", "ds.json",
                    config::kTrain, 4, run);
    return run.sequence_parallel_type;
  };
  EXPECT_EQ(type("ring"), config::SequenceParallelType::kRing);
  EXPECT_EQ(type("hybrid"), config::SequenceParallelType::kHybrid);
  EXPECT_EQ(type("all_to_all"), config::SequenceParallelType::kUlysses);
  EXPECT_EQ(type("ring", {"--sequence_parallel_type", "hybrid"}),
            config::SequenceParallelType::kHybrid);
}

// Those of DeepSpeed 0.19.8: lr_schedules.py and the classes of ops/adam.
TEST(DeepSpeed, KeysThatAreLeftOutHaveDeepSpeedsDefaults) {
  config::RunConfig run;
  DeepSpeed result = apply(R"({"optimizer": {"type": "AdamW", "params": {"lr": 5e-7}},
    "scheduler": {"type": "WarmupLR", "params": {}}})",
                           run);
  EXPECT_EQ(run.learning_rate, 5e-7);
  EXPECT_EQ(run.warmup_steps, 1000);
  EXPECT_EQ(run.warmup_type, config::Warmup::kLog);
  EXPECT_EQ(run.lr_scheduler_type, config::LrScheduler::kConstant);
  EXPECT_EQ(text_of(result.done, "scheduler.params.warmup_num_steps"), "--warmup_steps");

  run = {};
  result = apply(R"({"optimizer": {"type": "Adam", "params": {"lr": 5e-7}},
    "scheduler": {"type": "WarmupDecayLR", "params": {}}})",
                 run);
  EXPECT_EQ(run.learning_rate, 1e-3);
  EXPECT_EQ(text_of(result.no_effect, "optimizer.params.lr"),
            "WarmupDecayLR goes to its own warmup_max_lr");

  run = {};
  apply(R"({"optimizer": {"type": "AdamW"}, "zero_optimization": {"overlap_comm": true}})", run);
  EXPECT_EQ(run.learning_rate, 1e-3);
  EXPECT_EQ(run.weight_decay, 0);
  EXPECT_EQ(run.zero_stage, 0);
  run = {};
  apply(R"({"optimizer": {"type": "AdamW", "params": {"torch_adam": true}}})", run);
  EXPECT_EQ(run.weight_decay, 0.01);
}

TEST(DeepSpeed, DefaultsGiveWayToOptionsThatWereGiven) {
  config::RunConfig run = run_with({"--warmup_steps", "10", "--learning_rate", "1e-4"});
  const DeepSpeed result =
      apply(R"({"optimizer": {"type": "AdamW"}, "scheduler": {"type": "WarmupDecayLR"}})", run);
  EXPECT_EQ(run.warmup_steps, 10);
  EXPECT_EQ(run.learning_rate, 1e-4);
  EXPECT_EQ(text_of(result.no_effect, "scheduler.params.warmup_num_steps"),
            "--warmup_steps says 10");
  EXPECT_EQ(text_of(result.no_effect, "optimizer.params.lr"), "--learning_rate says 0.0001");
  EXPECT_EQ(text_of(result.done, "scheduler.params.warmup_type"), "--warmup_type");
}

TEST(DeepSpeed, AWarmUpFromThePeakIsNone) {
  for (const char* steps : {"0", "100"}) {
    config::RunConfig run;
    const std::string text = fmt::format(
        R"({{"scheduler": {{"params": {{"warmup_min_lr": 3e-5, "warmup_max_lr": 3e-5,
          "warmup_num_steps": {}, "warmup_type": "linear"}}}}}})",
        steps);
    const DeepSpeed result = apply(std::string_view(text), run);
    EXPECT_EQ(run.warmup_steps, 0);
    EXPECT_EQ(run.learning_rate, 3e-5);
    EXPECT_EQ(text_of(result.no_effect, "scheduler.params.warmup_min_lr"), "there is no warm-up");
  }
}

TEST(DeepSpeed, StepsPerPrintGivesWayToLoggingSteps) {
  config::RunConfig run = run_with({"--logging_steps", "5"});
  const DeepSpeed result = apply(R"({"steps_per_print": 2000})", run);
  EXPECT_EQ(run.logging_steps, 5);
  EXPECT_EQ(text_of(result.no_effect, "steps_per_print"), "--logging_steps 5 decides");
}

TEST(DeepSpeed, StepsPerPrintMayBeNever) {
  for (const char* value : {"\"inf\"", "Infinity", "\"Infinity\"", "\"never\"", "1e99"}) {
    config::RunConfig run;
    const std::string text = fmt::format(R"({{"steps_per_print": {}}})", value);
    const DeepSpeed result = apply(std::string_view(text), run);
    EXPECT_EQ(run.logging_steps, config::RunConfig{}.logging_steps) << value;
    EXPECT_EQ(text_of(result.no_effect, "steps_per_print"), "--logging_steps 10 decides") << value;
  }
  config::RunConfig run;
  apply(R"({"steps_per_print": 1e9})", run);
  EXPECT_EQ(run.logging_steps, 1'000'000'000);
  for (const char* value : {"0", "-Infinity", "\"seldom\"", "true"}) {
    EXPECT_NE(error_of(fmt::format(R"({{"steps_per_print": {}}})", value))
                  .find("ds.json:1:2: steps_per_print: a number of steps, at least 1, or \"inf\""),
              std::string::npos)
        << value;
  }
}

TEST(DeepSpeed, FeaturesThatAreOffInOtherWords) {
  for (const char* text :
       {R"({"amp": {"enabled": "auto", "opt_level": "auto"}})", R"({"amp": {"opt_level": "O1"}})",
        R"({"autotuning": {"enabled": "never", "fast": true}})", R"({"autotuning": "never"})",
        R"({"sparse_attention": {"mode": "auto"}})", R"({"elasticity": {"enabled": "false"}})"}) {
    EXPECT_EQ(error_of(text), "no error") << text;
  }
  for (const char* text : {R"({"amp": {"enabled": "true"}})", R"({"autotuning": true})",
                           R"({"sparse_attention": {"mode": "fixed"}})"}) {
    EXPECT_NE(error_of(text), "no error") << text;
  }
}

TEST(DeepSpeed, KeysThatDeepSpeedPassesOver) {
  const DeepSpeed result = apply(R"({"_comment": "mine", "low_cpu_mem_usage": false, "name": "x",
    "comms_config": {"enabled": true}, "monitor_config": {}, "seed": 3, "dtype": "bf16",
    "zero_optimization": {"stage": 2, "// why": "it fits"},
    "activation_checkpointing": {"use_reentrant": true}})");
  EXPECT_EQ(text_of(result.no_effect, "_comment"), "a comment");
  EXPECT_EQ(text_of(result.no_effect, "zero_optimization.// why"), "a comment");
  for (const char* key :
       {"low_cpu_mem_usage", "name", "seed", "dtype", "activation_checkpointing.use_reentrant"}) {
    EXPECT_EQ(text_of(result.no_effect, key),
              "DeepSpeed does not know the key, and passes over it");
  }
  EXPECT_NE(text_of(result.no_effect, "comms_config"), "");
  // But not a key that is likely meant for one that it knows, or that it refuses itself.
  for (const char* text :
       {R"({"train_micro_batch_size": 2})", R"({"gradient_acumulation_steps": 2})",
        R"({"zero_optimisation": {}})", R"({"offload_optimizer": {"device": "cpu"}})",
        R"({"zero_optimization": {"use_reentrant": true}})",
        R"({"optimizer": {"params": {"momentum": 0.9}}})"}) {
    EXPECT_NE(error_of(text).find("not a key of DeepSpeed"), std::string::npos) << text;
  }
}

TEST(DeepSpeed, ScalingFieldsOfFp16InBf16AndBucketsOfNothing) {
  const DeepSpeed result = apply(R"({"bf16": {"enabled": "auto", "loss_scale": 0, "hysteresis": 2,
    "loss_scale_window": 1000, "initial_scale_power": 16, "min_loss_scale": 1},
    "zero_optimization": {"reduce_bucket_size": 0, "allgather_bucket_size": 0}})");
  EXPECT_EQ(text_of(result.no_effect, "bf16.hysteresis"),
            text_of(result.no_effect, "bf16.loss_scale"));
  EXPECT_EQ(result.config.reduce_bucket_size, 0);
}

TEST(DeepSpeed, AllProblemsAreSaidALineEach) {
  testing::internal::CaptureStderr();
  const std::string last = error_of(R"({"gradient_cliping": 1,
    "fp16": {"enabled": true},
    "zero_optimization": {"stage": 4, "overlap_comm": 3},
    "optimizer": {"type": "Lamb", "params": {"betas": [0.9]}}})");
  const std::string before = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::ranges::count(before, '\n'), 5);
  for (const char* place :
       {"ds.json:1:2: gradient_cliping", "ds.json:2:14: fp16.enabled",
        "ds.json:3:27: zero_optimization.stage", "ds.json:3:39: zero_optimization.overlap_comm",
        "ds.json:4:19: optimizer.type", "ds.json:4:46: optimizer.params.betas"}) {
    EXPECT_NE((before + last).find(place), std::string::npos) << place << "\n" << before << last;
  }
}

// A verb that lists --deepspeed takes what it has options for.
TEST(DeepSpeed, VerbsTakeWhatTheyHaveOptionsFor) {
  constexpr auto kText = R"({"bf16": {"enabled": false}, "gradient_clipping": 0.5,
    "train_batch_size": 7, "optimizer": {"type": "AdamW", "params": {"lr": 1e-4}},
    "activation_checkpointing": {"cpu_checkpointing": true}, "steps_per_print": 3})";
  config::RunConfig run;
  const DeepSpeed result = apply_deepspeed(kText, "ds.json", config::kDump, 2, run);
  EXPECT_EQ(run.dtype, config::DtypeChoice::kFloat32);
  EXPECT_EQ(run.offload_activations, config::ActivationOffload::kAll);
  EXPECT_EQ(run.max_grad_norm, config::RunConfig{}.max_grad_norm);
  EXPECT_EQ(text_of(result.no_effect, "gradient_clipping"), "trireme dump has no --max_grad_norm");
  EXPECT_EQ(text_of(result.no_effect, "optimizer.params.lr"),
            "trireme dump has no --learning_rate");
  apply_deepspeed(kText, "ds.json", config::kBench, 2, run);
  EXPECT_EQ(run.max_grad_norm, 0.5);
  EXPECT_EQ(run.learning_rate, 1e-4);
}

TEST(DeepSpeed, LinesAndJson) {
  const DeepSpeed result = apply(
      R"({"gradient_clipping": 2, "wall_clock_breakdown": true, "prescale_gradients": false,
          "disable_allgather": true})");
  EXPECT_EQ(lines(result.done), std::vector<std::string>{"gradient_clipping = 2: --max_grad_norm"});
  const std::vector<std::string> expected = {
      "wall_clock_breakdown = true: trireme bench --profile measures",
      "prescale_gradients = false: gradients are sums over ranks, divided once by the trained "
      "tokens of all",
      "disable_allgather = true: weights are gathered where ZeRO shards them"};
  EXPECT_EQ(lines(result.no_effect), expected);
  EXPECT_EQ(to_json(result)["done"].dump(),
            R"({"gradient_clipping":{"value":"2","how":"--max_grad_norm"}})");
}

}  // namespace
}  // namespace trireme::deepspeed
