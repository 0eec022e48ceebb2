// Batch, precision, optimizer and schedule; finding keys.
#include "deepspeed/keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/nearest.h"

namespace trireme::deepspeed {
namespace {

using enum KeyKind;
using enum KeyFate;

constexpr auto kScale = "no loss scaling: bfloat16 and float32 need none";
constexpr auto kOurAdam = "one implementation of AdamW";
constexpr auto kNotBuilt = "not built: leave it out";
constexpr auto kNoHalf = "float16 training is not built: use bf16";
constexpr auto kSums = "gradients are sums over ranks, divided once by the trained tokens of all";
constexpr auto kFp32Sums = "gradients add up in float32";
constexpr auto kNoFp16State = "gradients add up in float32, master weights are float32 or none";

std::vector<DeepSpeedKey> batch_keys() {
  return {
      {"train_batch_size", kInteger, "null", kRule,
       "must be --batch_size x --gradient_accumulation_steps x data-parallel ranks; sets one of "
       "the two that is not given",
       "", 1},
      {"train_micro_batch_size_per_gpu", kInteger, "null", kRule, "sets --batch_size", "", 1},
      {"gradient_accumulation_steps", kInteger, "null", kRule, "sets --gradient_accumulation_steps",
       "", 1},
      {"managed_gradient_accumulation", kFlag, "true", kOnly, kNotBuilt},
      {"gradient_clipping", kNumber, "1.0", kOption, "max_grad_norm", "", 0},
      {"steps_per_print", kAnything, "null", kRule,
       "sets --logging_steps; one that was given stays, and inf (never) leaves it"},
      {"dataloader_drop_last", kFlag, "false", kOnly, "every sample of an epoch is trained"},
      {"sparse_gradients", kFlag, "false", kIdle, "gradients are dense"},
      {"prescale_gradients", kFlag, "false", kIdle, kSums},
      {"gradient_predivide_factor", kNumber, "1.0", kIdle, kSums},
      {"gradient_allreduce_op", kText, "\"mean\"", kIdle, kSums, "mean|sum"},
      {"communication_data_type", kText, "null", kIdle, "ranks sum gradients in float32",
       "fp16|bf16|fp32"},
      {"seq_parallel_communication_data_type", kText, "\"fp32\"", kIdle,
       "ranks exchange attention heads in --dtype", "fp16|bf16|fp32"},
      {"disable_allgather", kFlag, "false", kIdle, "weights are gathered where ZeRO shards them"},
  };
}

std::vector<DeepSpeedKey> precision_keys() {
  return {
      {"bf16", kSection, "{}", kOpen},
      {"bfloat16", kSection, "{}", kAlias, "bf16"},
      {"bf16.enabled", kFlag, "false", kRule,
       "true: bfloat16 on CUDA, float32 on the CPU; false: --dtype float32"},
      {"bf16.auto_cast", kFlag, "false", kIdle, kScale},
      {"bf16.loss_scale", kNumber, "0", kIdle, kScale},
      {"bf16.initial_scale_power", kInteger, "16", kIdle, kScale},
      {"bf16.loss_scale_window", kNumber, "1000", kIdle, kScale},
      {"bf16.hysteresis", kInteger, "2", kIdle, kScale},
      {"bf16.consecutive_hysteresis", kFlag, "false", kIdle, kScale},
      {"bf16.min_loss_scale", kNumber, "1", kIdle, kScale},
      {"bf16.immediate_grad_update", kFlag, "false", kIdle, kFp32Sums},
      {"bf16.check_grad_overflow", kFlag, "true", kIdle, "a loss that is not finite ends the run"},
      {"bf16.check_overflow", kFlag, "false", kAlias, "bf16.check_grad_overflow"},
      {"bf16.bf16_master_weights_and_grads", kFlag, "false", kRule,
       "true: --master_weights off; gradients add up in float32 all the same"},
      {"bf16.bf16_optimizer_states", kFlag, "false", kRule, "true: --moments_dtype bfloat16"},
      {"fp16", kSection, "{}", kOpen},
      {"fp16.enabled", kFlag, "false", kRule, "true is refused: float16 training is not built"},
      {"fp16.auto_cast", kFlag, "false", kIdle, kScale},
      {"fp16.loss_scale", kNumber, "0", kIdle, kScale},
      {"fp16.initial_scale_power", kInteger, "16", kIdle, kScale},
      {"fp16.loss_scale_window", kNumber, "1000", kIdle, kScale},
      {"fp16.hysteresis", kInteger, "2", kIdle, kScale},
      {"fp16.consecutive_hysteresis", kFlag, "false", kIdle, kScale},
      {"fp16.min_loss_scale", kNumber, "1", kIdle, kScale},
      {"fp16.fp16_master_weights_and_grads", kFlag, "false", kOnly, kNoFp16State},
      {"amp", kAnything, R"({"enabled": false})", kFeature, kNoHalf},
      {"torch_autocast", kAnything, R"({"enabled": false})", kFeature, kNoHalf},
      {"data_types", kSection, "{}", kOpen},
      {"data_types.grad_accum_dtype", kText, "null", kIdle, kFp32Sums, "fp32|bf16|fp16"},
      {"data_types.param_dtype", kText, "null", kIdle, "--dtype decides", "fp32|bf16|fp16"},
      {"data_types.buffer_dtype", kText, "null", kIdle, "--dtype decides", "fp32|bf16|fp16"},
      {"data_types.keep_in_fp32_modules", kAnything, "\"auto\"", kIdle,
       "rotary angles are float32"},
  };
}

std::vector<DeepSpeedKey> optimizer_keys() {
  return {
      {"optimizer", kSection, "{}", kOpen},
      {"optimizer.type", kText, "null", kRule, "Adam or AdamW; others are refused"},
      {"optimizer.legacy_fusion", kFlag, "false", kIdle, kOurAdam},
      {"optimizer.params", kSection, "{}", kOpen},
      {"optimizer.params.lr", kNumber, "0.001", kRule,
       "sets --learning_rate; no effect where WarmupDecayLR has no warmup_max_lr"},
      {"optimizer.params.betas", kList, "[0.9, 0.999]", kRule,
       "sets --adam_beta1 and --adam_beta2"},
      {"optimizer.params.eps", kNumber, "1e-8", kOption, "adam_epsilon"},
      {"optimizer.params.weight_decay", kNumber, "0.0", kOption, "weight_decay"},
      {"optimizer.params.adam_w_mode", kFlag, "true", kRule,
       "weight decay is decoupled; false is refused for Adam with a weight decay"},
      {"optimizer.params.bias_correction", kFlag, "true", kOnly, "always on here: leave it out"},
      {"optimizer.params.amsgrad", kFlag, "false", kOnly, kNotBuilt},
      {"optimizer.params.maximize", kFlag, "false", kOnly, kNotBuilt},
      {"optimizer.params.torch_adam", kFlag, "false", kIdle, kOurAdam},
      {"optimizer.params.fp32_optimizer_states", kFlag, "true", kRule,
       "false: --moments_dtype bfloat16"},
      {"optimizer.params.set_grad_none", kFlag, "true", kIdle, kOurAdam},
      {"optimizer.params.fused", kFlag, "false", kIdle, kOurAdam},
      {"optimizer.params.foreach", kFlag, "false", kIdle, kOurAdam},
      {"optimizer.params.capturable", kFlag, "false", kIdle, kOurAdam},
      {"optimizer.params.max_grad_norm", kNumber, "0.0", kIdle,
       "DeepSpeed ignores it too: gradient_clipping counts"},
      {"zero_allow_untested_optimizer", kFlag, "false", kIdle, kOurAdam},
      {"zero_force_ds_cpu_optimizer", kFlag, "true", kIdle, kOurAdam},
  };
}

std::vector<DeepSpeedKey> scheduler_keys() {
  return {
      {"scheduler", kSection, "{}", kOpen},
      {"scheduler.type", kText, "null", kRule,
       "sets --lr_scheduler_type: WarmupLR = constant, WarmupDecayLR = linear, WarmupCosineLR = "
       "cosine"},
      {"scheduler.params", kSection, "{}", kOpen},
      {"scheduler.params.warmup_min_lr", kNumber, "0.0", kRule,
       "the warm-up starts at 0; another value is refused, but the peak itself: then there is none",
       "", 0},
      {"scheduler.params.warmup_min_ratio", kNumber, "0.0", kRule,
       "the warm-up starts at 0; another value is refused, but 1: then there is none", "", 0},
      {"scheduler.params.warmup_max_lr", kNumber, "0.001", kRule,
       "sets --learning_rate; WarmupLR's default is the optimizer's lr"},
      {"scheduler.params.warmup_num_steps", kInteger, "1000", kRule, "sets --warmup_steps", "", 0},
      {"scheduler.params.warmup_type", kText, "\"log\"", kRule, "sets --warmup_type", "log|linear"},
      {"scheduler.params.total_num_steps", kInteger, "null", kRule, "must equal --max_steps", "",
       1},
      {"scheduler.params.cos_min_ratio", kNumber, "0.0001", kRule,
       "the schedule ends at 0; more than 0.001 is refused", "", 0},
      {"scheduler.params.last_batch_iteration", kInteger, "-1", kOnly,
       "a run starts at its first step: leave it out"},
  };
}

// The last name of a path.
std::string_view name_of(std::string_view path) { return path.substr(path.rfind('.') + 1); }

std::string_view section_of(std::string_view path) {
  const size_t dot = path.rfind('.');
  return dot == std::string_view::npos ? "" : path.substr(0, dot);
}

}  // namespace

std::vector<DeepSpeedKey> deepspeed_training_keys() {
  std::vector<DeepSpeedKey> keys = batch_keys();
  for (const auto& part : {precision_keys(), optimizer_keys(), scheduler_keys()}) {
    keys.insert(keys.end(), part.begin(), part.end());
  }
  return keys;
}

std::span<const DeepSpeedKey> deepspeed_keys() {
  static const std::vector<DeepSpeedKey> list = [] {
    std::vector<DeepSpeedKey> keys = deepspeed_training_keys();
    for (const auto& part : {deepspeed_zero_keys(), deepspeed_other_keys()}) {
      keys.insert(keys.end(), part.begin(), part.end());
    }
    return keys;
  }();
  return list;
}

const DeepSpeedKey* find_deepspeed_key(std::string_view path) {
  const auto found = std::ranges::find(deepspeed_keys(), path, &DeepSpeedKey::path);
  return found == deepspeed_keys().end() ? nullptr : &*found;
}

bool passes_over_keys(std::string_view section) {
  static constexpr std::string_view kSections[] = {
      "",         "optimizer",  "scheduler",      "activation_checkpointing",  "data_types",
      "pipeline", "checkpoint", "flops_profiler", "checkpoint.parallel_write", "checkpoint.writer",
      "aio"};
  return std::ranges::find(kSections, section) != std::end(kSections);
}

bool resembles_deepspeed_key(std::string_view section, std::string_view name) {
  const auto near = [&](std::string_view known) {
    const bool cut = name.find('_') != name.npos && known.starts_with(name) &&
                     known.substr(name.size()).starts_with('_');
    const size_t most = std::max<size_t>(1, name.size() / 4);
    const bool alike =
        std::max(name.size(), known.size()) - std::min(name.size(), known.size()) <= most;
    return cut || (alike && edit_distance(name, known) <= most);
  };
  return std::ranges::any_of(deepspeed_keys(), [&](const DeepSpeedKey& key) {
    if (section_of(key.path) == section) return near(name_of(key.path));
    const bool of_others = key.fate == KeyFate::kIdle && name.find('_') == name.npos;
    return !of_others && name_of(key.path) == name;
  });
}

std::string nearest_deepspeed_key(std::string_view section, std::string_view name) {
  std::vector<std::string> siblings, others;
  for (const DeepSpeedKey& key : deepspeed_keys()) {
    const bool sibling = section_of(key.path) == section;
    (sibling ? siblings : others).emplace_back(name_of(key.path));
  }
  if (const std::string near = did_you_mean(name, siblings); !near.empty()) return near;
  const std::string elsewhere = nearest(name, others);
  for (const DeepSpeedKey& key : deepspeed_keys()) {
    if (!elsewhere.empty() && name_of(key.path) == elsewhere) {
      return fmt::format(" (did you mean '{}'?)", key.path);
    }
  }
  return "";
}

}  // namespace trireme::deepspeed
