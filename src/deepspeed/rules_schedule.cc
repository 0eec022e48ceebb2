// The rules of the learning rate's schedule, and of the progress lines.
#include <algorithm>

#include "base/error.h"
#include "base/nearest.h"
#include "deepspeed/rules.h"

namespace trireme::deepspeed {
namespace {

constexpr auto kType = "scheduler.type";
constexpr auto kLr = "optimizer.params.lr";
constexpr auto kMaxLr = "scheduler.params.warmup_max_lr";
constexpr auto kSteps = "scheduler.params.warmup_num_steps";
constexpr auto kDecay = "WarmupDecayLR";

// No progress lines: inf as text, or what is more than a run can have of steps.
bool is_never(const config::Json& value) {
  if (value.is_number()) return value.get<double>() >= 0x1p53;
  if (!value.is_string()) return false;
  const auto text = value.get<std::string>();
  static constexpr std::string_view kNever[] = {"inf", "Infinity", "infinity", "never"};
  return std::ranges::find(kNever, text) != std::end(kNever);
}

}  // namespace

void DeepSpeedRules::schedule() {
  static const std::vector<std::pair<std::string, const char*>> kSchedules = {
      {"WarmupLR", "constant"}, {kDecay, "linear"}, {"WarmupCosineLR", "cosine"}};
  const GivenKey* type = file_.find_explicit(kType);
  if (type == nullptr) return;
  const std::string name = text_of(kType);
  const auto found = std::ranges::find(kSchedules, name, &decltype(kSchedules)::value_type::first);
  if (found == kSchedules.end()) {
    fail(
        "{}: {} has no counterpart here: WarmupLR (constant), WarmupDecayLR (linear) or "
        "WarmupCosineLR (cosine) is expected{}",
        type->where, name,
        did_you_mean(name, std::vector<std::string>{"WarmupLR", kDecay, "WarmupCosineLR"}));
  }
  assign(*type, "lr_scheduler_type", found->second);
  done(*type, fmt::format("--lr_scheduler_type {}", found->second));
}

// The peak is the optimizer's lr, unless the schedule has one of its own: WarmupDecayLR always has.
void DeepSpeedRules::peak() {
  const GivenKey *lr = file_.find_explicit(kLr), *top = file_.find_explicit(kMaxLr);
  const bool own_default = text_of(kType) == kDecay && file_.find(kMaxLr) == nullptr;
  if (lr != nullptr && own_default && !run_.given.contains("learning_rate")) {
    no_effect(*lr, "WarmupDecayLR goes to its own warmup_max_lr");
  } else if (lr != nullptr) {
    set(*lr, "learning_rate", value_text(lr->value));
  }
  if (top != nullptr) set(*top, "learning_rate", value_text(top->value));
  if (own_default) take_default(kMaxLr, "learning_rate", "0.001");
  if (file_.find_explicit("optimizer.type") != nullptr) {
    take_default(kLr, "learning_rate", "0.001");
  }
}

// transformers' warm-up, from 0 to the peak. A warm-up from the peak to the peak is none.
void DeepSpeedRules::warm_up() {
  const GivenKey *start = file_.find_explicit("scheduler.params.warmup_min_lr"),
                 *ratio = file_.find_explicit("scheduler.params.warmup_min_ratio");
  const bool flat = (start != nullptr && start->value == run_.learning_rate) ||
                    (ratio != nullptr && ratio->value == 1);
  if (const GivenKey* steps = file_.find_explicit(kSteps)) {
    set(*steps, "warmup_steps", flat ? "0" : value_text(steps->value));
  } else if (!text_of(kType).empty()) {
    take_default(kSteps, "warmup_steps", flat ? "0" : "1000");
  }
  if (const GivenKey* type = file_.find_explicit("scheduler.params.warmup_type")) {
    set(*type, "warmup_type", type->value.get<std::string>());
  } else if (!text_of(kType).empty()) {
    take_default("scheduler.params.warmup_type", "warmup_type", "log");
  }
  for (const GivenKey* key : {start, ratio}) {
    if (key == nullptr) continue;
    if (run_.warmup_steps == 0) {
      no_effect(*key, "there is no warm-up");
    } else if (key->value == 0) {
      done(*key, "the warm-up starts at 0");
    } else {
      fail("{}: the warm-up starts at 0 here: write 0 or leave it out", key->where);
    }
  }
}

void DeepSpeedRules::total_steps() {
  const GivenKey* total = file_.find_explicit("scheduler.params.total_num_steps");
  if (total == nullptr) return;
  const auto steps = total->value.get<int64_t>();
  if (takes("max_steps") && run_.max_steps != steps) {
    fail(
        "{} is {}, but the learning-rate schedule ends with the run, and --max_steps is {}: "
        "give --max_steps {}, or write \"auto\"",
        total->where, steps, run_.max_steps, steps);
  }
  takes("max_steps") ? done(*total, "--max_steps") : no_effect(*total, "this verb has no schedule");
}

void DeepSpeedRules::schedule_end() {
  const GivenKey* least = file_.find_explicit("scheduler.params.cos_min_ratio");
  if (least == nullptr) return;
  // DeepSpeed's default, 0.0001, makes no visible difference to the schedule.
  if (least->value.get<double>() > 0.001) {
    fail("{}: the schedule ends at 0 here: write 0 or leave it out", least->where);
  }
  done(*least, "the schedule ends at 0");
}

// Trainers have their own interval beside DeepSpeed's, and files of either keep both.
void DeepSpeedRules::progress() {
  const GivenKey* key = file_.find_explicit("steps_per_print");
  if (key == nullptr) return;
  const bool never = is_never(key->value);
  const bool number = key->value.is_number() && key->value.get<double>() >= 1;
  if (!never && !number) {
    fail("{}: a number of steps, at least 1, or \"inf\" for never is expected, found {}",
         key->where, config::json_text(key->value));
  }
  if (!takes("logging_steps")) return no_effect(*key, "this verb has no progress lines");
  const bool other = run_.given.contains("logging_steps") && key->value != run_.logging_steps;
  if (never || other) {
    return no_effect(*key, fmt::format("--logging_steps {} decides", run_.logging_steps));
  }
  set(*key, "logging_steps", value_text(key->value));
}

}  // namespace trireme::deepspeed
