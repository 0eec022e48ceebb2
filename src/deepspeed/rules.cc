// Where each key ends, and the rules of batch, precision, optimizer and schedule.
#include "deepspeed/rules.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "base/nearest.h"
#include "config/schema.h"

namespace trireme::deepspeed {
namespace {

constexpr auto kWhole = "train_batch_size";
constexpr auto kMicroBatch = "train_micro_batch_size_per_gpu";
constexpr auto kAccumulation = "gradient_accumulation_steps";

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// Switched on: `enabled`, or where there is no such key anything at all.
bool asks_for_something(const config::Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (!value.is_object()) return !value.empty();
  const auto enabled = value.find("enabled");
  if (enabled == value.end()) return !value.empty();
  return !enabled->is_boolean() || enabled->get<bool>();
}

}  // namespace

void DeepSpeedRules::done(const GivenKey& key, std::string_view text) {
  result_.done.push_back({key.path, value_text(key.value), std::string(text)});
}

void DeepSpeedRules::no_effect(const GivenKey& key, std::string_view text) {
  result_.no_effect.push_back({key.path, value_text(key.value), std::string(text)});
}

void DeepSpeedRules::assign(const GivenKey& key, std::string_view name, const std::string& text) {
  const config::Option& option = *config::find_option(name);
  config::RunConfig wanted = run_;
  config::set_option(wanted, option, text, key.where);
  const auto given = run_.given.find(option.name);
  if (given == run_.given.end()) {
    run_ = std::move(wanted);
  } else if (config::option_text(wanted, option) != config::option_text(run_, option)) {
    fail("{} asks for {}, but {} says {}: make them equal, or write \"auto\"", key.where,
         config::option_text(wanted, option), given->second, config::option_text(run_, option));
  }
}

void DeepSpeedRules::set(const GivenKey& key, std::string_view name, const std::string& text) {
  assign(key, name, text);
  done(key, fmt::format("--{}", name));
}

void DeepSpeedRules::apply() {
  for (const GivenKey& key : file_.keys()) apply_row(key);
  parallel();
  zero();
  offload("zero_optimization.offload_optimizer", "zero_optimization.cpu_offload",
          result_.config.offload_optimizer);
  offload("zero_optimization.offload_param", "zero_optimization.cpu_offload_param",
          result_.config.offload_param);
  batch();
  precision();
  states();
  optimizer();
  schedule();
  progress();
}

void DeepSpeedRules::apply_row(const GivenKey& key) {
  const DeepSpeedKey& row = *key.row;
  if (key.value.is_null()) return no_effect(key, "as if it were left out");
  if (row.fate == KeyFate::kIdle) return no_effect(key, row.text);
  if (key.automatic()) return done(key, "the run's options decide");
  if (row.fate == KeyFate::kOption) return set(key, row.text, value_text(key.value));
  if (row.fate == KeyFate::kDone) return done(key, row.text);
  if (row.fate == KeyFate::kFeature) {
    if (asks_for_something(key.value)) fail("{}: {}", key.where, row.text);
    return no_effect(key, "off");
  }
  if (row.fate == KeyFate::kOnly) {
    if (key.value != config::Json::parse(row.fallback))
      fail("{}: {}: {}", key.where, config::json_text(key.value), row.text);
    return done(key, "as it is here");
  }
}

// train_batch_size = micro-batch x accumulation steps x data-parallel ranks; two of them give the
// third, one of them the others with one accumulation step, as in DeepSpeed. What the run's options
// give explicitly, or "auto" leaves to them, is as good as given in the file.
void DeepSpeedRules::batch() {
  const GivenKey* train = file_.find_explicit(kWhole);
  if (const GivenKey* key = file_.find_explicit(kMicroBatch)) {
    set(*key, "batch_size", value_text(key->value));
  }
  if (const GivenKey* key = file_.find_explicit(kAccumulation)) {
    set(*key, "gradient_accumulation_steps", value_text(key->value));
  }
  if (train == nullptr) return;
  const auto known = [&](const char* path, const char* option) {
    const GivenKey* key = file_.find(path);
    return run_.given.contains(option) || (key != nullptr && key->automatic());
  };
  const bool micro_known = known(kMicroBatch, "batch_size"),
             steps_known = known(kAccumulation, kAccumulation);
  const int64_t wanted = train->value.get<int64_t>(), ranks = data_parallel_ranks();
  if (!micro_known) {
    assign_quotient(*train, "batch_size", wanted, run_.gradient_accumulation_steps * ranks);
  } else if (!steps_known) {
    assign_quotient(*train, kAccumulation, wanted, run_.batch_size * ranks);
  }
  // As floating point: a typing error may be more than 64 bits hold.
  const double product = static_cast<double>(run_.batch_size) *
                         static_cast<double>(run_.gradient_accumulation_steps) *
                         static_cast<double>(ranks);
  if (static_cast<double>(wanted) != product) {
    fail(
        "{} is {}, but a micro-batch of {} x {} gradient_accumulation_steps x {} ranks are {:.0f}: "
        "make them agree, or write \"auto\"",
        train->where, wanted, run_.batch_size, run_.gradient_accumulation_steps, ranks, product);
  }
  done(*train, fmt::format("--batch_size {} x --gradient_accumulation_steps {} x {} ranks",
                           run_.batch_size, run_.gradient_accumulation_steps, ranks));
}

void DeepSpeedRules::assign_quotient(const GivenKey& train, std::string_view option, int64_t whole,
                                     int64_t part) {
  if (whole % part != 0) {
    fail("{} is {}, not a multiple of {}: no whole --{} gives it", train.where, whole, part,
         option);
  }
  assign(train, option, std::to_string(whole / part));
}

void DeepSpeedRules::precision() {
  const GivenKey *half = file_.find_explicit("fp16.enabled"),
                 *brain = file_.find_explicit("bf16.enabled");
  const bool half_on = half != nullptr && half->value == true;
  const bool brain_on = brain != nullptr && brain->value == true;
  if (half_on && brain_on) {
    fail("{}: {} is on too: switch one of them off", half->where, brain->path);
  }
  if (half_on) fail("{}: float16 training is not built: use bf16", half->where);
  if (half != nullptr) done(*half, "--dtype is bfloat16 or float32");
  if (brain == nullptr) return;
  const auto given = run_.given.find("dtype");
  const config::DtypeChoice other =
      brain_on ? config::DtypeChoice::kFloat32 : config::DtypeChoice::kBFloat16;
  if (given != run_.given.end() && run_.dtype == other) {
    fail("{} is {}, but {} says {}: make them agree, or write \"auto\"", brain->where,
         config::json_text(brain->value), given->second, config::word(other));
  }
  if (brain_on) return done(*brain, "bfloat16 on CUDA; the CPU computes in float32");
  config::set_option(run_, *config::find_option("dtype"), "float32", brain->where);
  done(*brain, "--dtype float32");
}

void DeepSpeedRules::optimizer() {
  const GivenKey* type = file_.find_explicit("optimizer.type");
  const std::string name = type == nullptr ? "" : type->value.get<std::string>();
  if (type != nullptr) {
    if (lower(name) != "adam" && lower(name) != "adamw") {
      fail("{}: {} is not built: Adam or AdamW is expected", type->where, name);
    }
    done(*type, "AdamW");
  }
  if (const GivenKey* betas = file_.find_explicit("optimizer.params.betas")) {
    const config::Json& pair = betas->value;
    if (pair.size() != 2 || !pair[0].is_number() || !pair[1].is_number()) {
      fail("{}: two numbers are expected, found {}", betas->where, config::json_text(pair));
    }
    assign(*betas, "adam_beta1", config::json_text(pair[0]));
    assign(*betas, "adam_beta2", config::json_text(pair[1]));
    done(*betas, "--adam_beta1, --adam_beta2");
  }
  const GivenKey* decoupled = file_.find_explicit("optimizer.params.adam_w_mode");
  if (decoupled == nullptr) return;
  if (decoupled->value == true) return done(*decoupled, "weight decay is decoupled");
  if (lower(name) == "adamw") {
    return no_effect(*decoupled, "AdamW decouples weight decay whatever it says");
  }
  if (run_.weight_decay != 0) {
    fail("{}: weight decay in the gradient is not built: write true, or a weight_decay of 0",
         decoupled->where);
  }
  done(*decoupled, "without weight decay both modes are one");
}

void DeepSpeedRules::schedule() {
  static const std::vector<std::pair<std::string, const char*>> kSchedules = {
      {"WarmupLR", "constant"}, {"WarmupDecayLR", "linear"}, {"WarmupCosineLR", "cosine"}};
  if (const GivenKey* type = file_.find_explicit("scheduler.type")) {
    const auto name = type->value.get<std::string>();
    const auto found =
        std::ranges::find(kSchedules, name, &decltype(kSchedules)::value_type::first);
    if (found == kSchedules.end()) {
      fail(
          "{}: {} has no counterpart here: WarmupLR (constant), WarmupDecayLR (linear) or "
          "WarmupCosineLR (cosine) is expected{}",
          type->where, name,
          did_you_mean(name,
                       std::vector<std::string>{"WarmupLR", "WarmupDecayLR", "WarmupCosineLR"}));
    }
    assign(*type, "lr_scheduler_type", found->second);
    done(*type, fmt::format("--lr_scheduler_type {}", found->second));
  }
  warm_up();
  total_steps();
}

// transformers' warm-up: a line from 0 to the peak.
void DeepSpeedRules::warm_up() {
  for (const char* path : {"scheduler.params.warmup_min_lr", "scheduler.params.warmup_min_ratio"}) {
    const GivenKey* key = file_.find_explicit(path);
    if (key == nullptr) continue;
    if (key->value != 0)
      fail("{}: the warm-up starts at 0 here: write 0 or leave it out", key->where);
    done(*key, "the warm-up starts at 0");
  }
  constexpr auto kLinear = "the warm-up is linear here";
  if (const GivenKey* type = file_.find_explicit("scheduler.params.warmup_type")) {
    if (type->value == "log") {
      fail("{}: log is not built: write \"linear\", or leave it out", type->where);
    }
    done(*type, kLinear);
  } else if (file_.find_explicit("scheduler.type") != nullptr && run_.warmup_steps > 0) {
    result_.no_effect.push_back(
        {"scheduler.params.warmup_type", "log, DeepSpeed's default", kLinear});
  }
}

void DeepSpeedRules::total_steps() {
  if (const GivenKey* total = file_.find_explicit("scheduler.params.total_num_steps")) {
    const auto steps = total->value.get<int64_t>();
    if (run_.max_steps != steps) {
      fail(
          "{} is {}, but the learning-rate schedule ends with the run, and --max_steps is {}: "
          "give --max_steps {}, or write \"auto\"",
          total->where, steps, run_.max_steps, steps);
    }
    done(*total, "--max_steps");
  }
  if (const GivenKey* least = file_.find_explicit("scheduler.params.cos_min_ratio")) {
    // DeepSpeed's default, 0.0001, makes no visible difference to the schedule.
    if (least->value.get<double>() > 0.001) {
      fail("{}: the schedule ends at 0 here: write 0 or leave it out", least->where);
    }
    done(*least, "the schedule ends at 0");
  }
}

void DeepSpeedRules::progress() {
  const GivenKey* key = file_.find_explicit("steps_per_print");
  if (key == nullptr) return;
  const std::string steps = value_text(key->value);
  const bool other =
      run_.given.contains("logging_steps") && std::to_string(run_.logging_steps) != steps;
  // Trainers have their own interval beside DeepSpeed's, and files of either keep both.
  if (other) return no_effect(*key, fmt::format("--logging_steps {} decides", run_.logging_steps));
  set(*key, "logging_steps", steps);
}

}  // namespace trireme::deepspeed
