// --deepspeed FILE: a DeepSpeed JSON as people bring it, read unchanged. Every key of it ends in
// one of three ways: done (and how), without effect here (and why), or refused with one line. Its
// settings become options of the run as Hugging Face's trainer does it: "auto" leaves the run's
// option as it is; an explicit value sets an option that was not given, and must equal one that
// was.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/json.h"
#include "config/schema.h"

namespace trireme::deepspeed {

// What the file asks for beyond the options of the run (batch, clipping, optimizer, schedule and
// dtype are in RunConfig). The initialisers are DeepSpeed's defaults.
struct DeepSpeedConfig {
  struct Offload {
    std::string device = "none";  // none | cpu
    bool pin_memory = true;
    double ratio = 1.0;  // share of the optimizer's state that is offloaded
  };
  struct ActivationCheckpointing {
    bool partition_activations = false;
    bool cpu_checkpointing = false;
    bool contiguous_memory_optimization = false;
    bool synchronize_checkpoint_boundary = false;
    bool profile = false;
    int64_t number_checkpoints = 0;  // 0 = not given
  };

  int64_t zero_stage = 0;
  Offload offload_optimizer, offload_param;
  bool overlap_comm = false;  // where it is not given: with stage 3

  // Elements. nullopt: "auto", for which Hugging Face takes hidden^2, 0.9 hidden^2 and 10 hidden.
  std::optional<int64_t> reduce_bucket_size = 500'000'000;
  std::optional<int64_t> prefetch_bucket_size = 50'000'000;
  std::optional<int64_t> param_persistence_threshold = 100'000;
  int64_t allgather_bucket_size = 500'000'000;
  int64_t sub_group_size = 1'000'000'000;
  int64_t max_live_parameters = 1'000'000'000;
  int64_t max_reuse_distance = 1'000'000'000;

  ActivationCheckpointing activation_checkpointing;
  std::string communication_data_type;  // fp32 | bf16 | fp16; "" = that of the gradients

  // Ranks of each kind; 1 = none of it.
  std::string sequence_parallel_type = "ulysses";  // ulysses | ring | hybrid
  int64_t sequence_parallel_size = 1;
  int64_t tensor_parallel_size = 1;
  int64_t pipeline_stages = 1;
  int64_t expert_parallel_size = 1;
};

// What became of one key.
struct DeepSpeedEntry {
  std::string key, value, text;
};

struct DeepSpeed {
  DeepSpeedConfig config;
  std::vector<DeepSpeedEntry> done;       // text: how
  std::vector<DeepSpeedEntry> no_effect;  // text: why
};

// Reads the text for a verb that runs on `ranks` processes, and sets the options that the verb has.
// Keys that the file leaves out of a section with a `type` or of ZeRO's have DeepSpeed's defaults.
// Throws UserError "name:line:column: key: ..." for what is misspelt, of a wrong kind,
// contradictory, not built, or unlike an option that was given: the last of them. Those before it
// are logged, a line each.
DeepSpeed apply_deepspeed(std::string_view text, const std::string& name, config::Verb verb,
                          int64_t ranks, config::RunConfig& run);

// {"done": {key: {"value": ..., "how": ...}}, "no_effect": {key: {"value": ..., "why": ...}}}
config::Json to_json(const DeepSpeed& deepspeed);

// One line for all keys with the same text: "key = value, key = value: text".
std::vector<std::string> lines(const std::vector<DeepSpeedEntry>& entries);

}  // namespace trireme::deepspeed
