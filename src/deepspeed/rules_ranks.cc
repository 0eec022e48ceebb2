// The rules of ZeRO, offload and parallel sizes.
#include <algorithm>

#include "base/error.h"
#include "deepspeed/rules.h"

namespace trireme::deepspeed {
namespace {

constexpr auto kNoOffload = "weights that are trained stay on the device";
constexpr auto kUlysses = "sequence_parallel_size";

}  // namespace

void DeepSpeedRules::stage() {
  constexpr auto kStage = "zero_optimization.stage";
  const GivenKey* stage = file_.find_explicit(kStage);
  if (stage == nullptr) {
    const bool section = std::ranges::any_of(file_.keys(), [](const GivenKey& key) {
      return key.row->path.starts_with("zero_optimization.");
    });
    if (section) take_default(kStage, "zero_stage", "0");
    return;
  }
  if (stage->value.get<int64_t>() > 3) {
    fail("{}: {} is no stage: 0, 1, 2 or 3 is expected", stage->where,
         config::json_text(stage->value));
  }
  assign(*stage, "zero_stage", config::json_text(stage->value));
  done(*stage,
       ranks_ > 1 ? "--zero_stage" : "one rank holds everything: there is nothing to shard");
}

void DeepSpeedRules::contiguous_gradients() {
  const GivenKey* key = file_.find_explicit("zero_optimization.contiguous_gradients");
  if (key == nullptr) return;
  constexpr auto kOneBuffer = "the gradients of a block are one buffer";
  key->value == true ? done(*key, kOneBuffer) : no_effect(*key, kOneBuffer);
}

void DeepSpeedRules::cpu_checkpointing() {
  const GivenKey* key = file_.find_explicit("activation_checkpointing.cpu_checkpointing");
  if (key == nullptr) return;
  key->value == true ? set(*key, "offload_activations", "all")
                     : done(*key,
                            "only what does not fit on the device goes to the host, if anything: "
                            "--offload_activations");
}

void DeepSpeedRules::offload_optimizer() {
  offload("zero_optimization.offload_optimizer", "zero_optimization.cpu_offload",
          result_.config.offload_optimizer);
}

void DeepSpeedRules::offload_param() {
  offload("zero_optimization.offload_param", "zero_optimization.cpu_offload_param",
          result_.config.offload_param);
}

// `old_flag`: what DeepSpeed had before it had the section.
void DeepSpeedRules::offload(const std::string& section, const std::string& old_flag,
                             DeepSpeedConfig::Offload& offload) {
  const GivenKey* device = file_.find_explicit(section + ".device");
  if (device != nullptr) {
    offload.device = device->value.get<std::string>();
    if (offload.device == "nvme") {
      fail(
          "{}: nvme: training state is never kept on a disk, which is slower than the step it "
          "would serve: write \"cpu\" or \"none\"",
          device->where);
    }
    offloaded(*device, section, offload.device);
  }
  if (const GivenKey* flag = file_.find_explicit(old_flag)) {
    const bool on = flag->value == true;
    if (device != nullptr && on != (offload.device == "cpu")) {
      fail("{} is {}, but {} is \"{}\": remove one", flag->where, config::json_text(flag->value),
           device->path, offload.device);
    }
    if (on) offload.device = "cpu";
    offloaded(*flag, section, on ? "cpu" : "none");
  }
  offload.pin_memory = file_.value(section + ".pin_memory").get<bool>();
  if (const GivenKey* ratio = file_.find_explicit(section + ".ratio")) {
    offload.ratio = ratio->value.get<double>();
    if (offload.ratio > 1) {
      fail("{}: {} is out of range: 0 to 1 is expected", ratio->where,
           config::json_text(ratio->value));
    }
    no_effect(*ratio, "the optimizer's whole state is on the host, or none of it");
  }
}

void DeepSpeedRules::offloaded(const GivenKey& key, const std::string& section,
                               const std::string& device) {
  if (section == "zero_optimization.offload_optimizer") {
    const bool streamed =
        device == "cpu" && run_.offload_optimizer == config::OptimizerOffload::kStream;
    return set(key, "offload_optimizer", streamed ? "stream" : device);
  }
  if (device == "none") return done(key, "everything stays on the device");
  run_.use_lora || !run_.adapter.empty() ? set(key, "offload_param", device)
                                         : no_effect(key, kNoOffload);
}

// Ends the key of one size, and returns it. `option`: of the command line, which decides where it
// was given; nullptr: not built.
int64_t DeepSpeedRules::parallel_size(const std::string& path, bool enabled, const char* option) {
  const GivenKey* key = file_.find_explicit(path);
  if (key == nullptr) return 1;
  if (!enabled) {
    no_effect(*key, "not enabled");
    return 1;
  }
  const auto size = std::max<int64_t>(key->value.get<int64_t>(), 1);  // autotp_size 0 is none
  if (option == nullptr) {
    if (size > 1) fail("{}: {}: not built in this version: write 1", key->where, size);
    done(*key, "one rank");
    return 1;
  }
  if (run_.given.contains(option)) {
    no_effect(*key, fmt::format("--{} was given", option));
    return size;
  }
  if (ranks_ % size != 0) {
    fail(
        "{}: {} does not divide the {} of this run (WORLD_SIZE): start with {} ranks or a "
        "multiple, "
        "or give --{}",
        key->where, size, ranks_ == 1 ? "one rank" : fmt::format("{} ranks", ranks_), size, option);
  }
  set(*key, option, std::to_string(size));
  return size;
}

void DeepSpeedRules::parallel() {
  DeepSpeedConfig& config = result_.config;
  const auto enabled = [&](const std::string& section) {
    const bool on = file_.value(section + ".enabled").get<bool>();
    if (const GivenKey* key = file_.find_explicit(section + ".enabled")) {
      on ? done(*key, "its size decides") : no_effect(*key, "off");
    }
    return on;
  };
  const bool sequence = enabled("sequence_parallel"), experts = enabled("expert_parallel");
  config.sequence_parallel_size = parallel_size("sequence_parallel.size", sequence, kUlysses);
  const int64_t other = parallel_size("sequence_parallel_size", true, kUlysses);
  if (const GivenKey* key = file_.find_explicit("sequence_parallel.size");
      key != nullptr && file_.find_explicit("sequence_parallel_size") != nullptr &&
      other != config.sequence_parallel_size) {
    fail("{} is {}, but sequence_parallel_size is {}: make them equal", key->where,
         config.sequence_parallel_size, other);
  }
  config.sequence_parallel_size = std::max(config.sequence_parallel_size, other);
  if (const GivenKey* type = file_.find_explicit("sequence_parallel.type")) {
    config.sequence_parallel_type =
        type->value == "all_to_all" ? "ulysses" : type->value.get<std::string>();
    run_.given.contains("sequence_parallel_type")
        ? no_effect(*type, "--sequence_parallel_type was given")
        : set(*type, "sequence_parallel_type", config.sequence_parallel_type);
  }
  config.tensor_parallel_size = parallel_size("tensor_parallel.autotp_size", true, nullptr);
  config.pipeline_stages = parallel_size("pipeline.stages", true, nullptr);
  config.expert_parallel_size = parallel_size("expert_parallel.autoep_size", experts, nullptr);
  parallel_size("expert_parallel.expert_tensor_parallel_size", experts, nullptr);
}

int64_t DeepSpeedRules::data_parallel_ranks() const {
  return std::max<int64_t>(1, ranks_ / run_.sequence_parallel_size);
}

}  // namespace trireme::deepspeed
