// Where each key ends, and the rules of batch, precision and optimizer.
#include "deepspeed/rules.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "config/schema.h"

namespace trireme::deepspeed {
namespace {

constexpr auto kWhole = "train_batch_size";
constexpr auto kMicroBatch = "train_micro_batch_size_per_gpu";
constexpr auto kAccumulation = "gradient_accumulation_steps";
constexpr auto kNoBatches = "this verb has one batch, of the documents that its options give";

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// Words with which people switch something off, "auto" among them: no option here switches it on.
bool is_off(std::string text) {
  static const std::vector<std::string> kOff = {"", "auto", "never", "none", "no", "off", "false"};
  return std::ranges::find(kOff, lower(std::move(text))) != kOff.end();
}

// Whether the value of a key that is judged as a whole is switched on: by its `enabled`, or where
// there is no such key by anything at all in it. `off`: DeepSpeed's default.
bool asks_for_something(const config::Json& value, const config::Json& off) {
  if (value.is_null()) return false;
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_string()) return !is_off(value.get<std::string>());
  if (value.is_number()) return value != 0;
  if (!value.is_object()) return !value.empty();
  if (const auto enabled = value.find("enabled"); enabled != value.end()) {
    return asks_for_something(*enabled, {});
  }
  if (off.contains("enabled")) return false;
  for (const auto& [name, part] : value.items()) {
    if (asks_for_something(part, {})) return true;
  }
  return false;
}

}  // namespace

bool DeepSpeedRules::takes(std::string_view option) const {
  return config::find_option(option)->verbs & verb_;
}

std::string DeepSpeedRules::text_of(std::string_view path) const {
  const GivenKey* key = file_.find_explicit(path);
  return key == nullptr ? "" : key->value.get<std::string>();
}

void DeepSpeedRules::done(const GivenKey& key, std::string_view text) {
  if (!not_taken_.empty()) return no_effect(key, text);
  result_.done.push_back({key.path, value_text(key.value), std::string(text)});
}

void DeepSpeedRules::no_effect(const GivenKey& key, std::string_view text) {
  const std::string why = not_taken_.empty() ? std::string(text)
                                             : fmt::format("trireme {} has no --{}",
                                                           config::verb_name(verb_), not_taken_);
  not_taken_.clear();
  result_.no_effect.push_back({key.path, value_text(key.value), why});
}

void DeepSpeedRules::assign(const GivenKey& key, std::string_view name, const std::string& text) {
  const config::Option& option = *config::find_option(name);
  if (!takes(name)) {
    not_taken_ = name;
    return;
  }
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

void DeepSpeedRules::take_default(std::string_view path, std::string_view name,
                                  const std::string& text) {
  if (file_.find(path) != nullptr || !takes(name)) return;
  const config::Option& option = *config::find_option(name);
  DeepSpeedEntry entry{std::string(path), fmt::format("{} (DeepSpeed's default)", text),
                       fmt::format("--{}", name)};
  if (const auto given = run_.given.find(option.name); given != run_.given.end()) {
    entry.text = fmt::format("{} says {}", given->second, config::option_text(run_, option));
    result_.no_effect.push_back(std::move(entry));
    return;
  }
  config::set_option(run_, option, text, fmt::format("DeepSpeed's default of {}", path));
  result_.done.push_back(std::move(entry));
}

std::vector<std::string> DeepSpeedRules::apply() {
  using Rules = DeepSpeedRules;
  const auto attempt = [&](const auto& rule) {
    try {
      rule();
    } catch (const UserError& error) {
      problems_.emplace_back(error.what());
    }
  };
  for (const GivenKey& key : file_.keys()) attempt([&] { apply_row(key); });
  for (const auto rule :
       {&Rules::parallel, &Rules::stage, &Rules::contiguous_gradients, &Rules::cpu_checkpointing,
        &Rules::offload_optimizer, &Rules::offload_param, &Rules::batch, &Rules::precision,
        &Rules::states, &Rules::optimizer, &Rules::betas, &Rules::schedule, &Rules::peak,
        &Rules::weight_decay, &Rules::warm_up, &Rules::total_steps, &Rules::schedule_end,
        &Rules::progress}) {
    attempt([&] { (this->*rule)(); });
  }
  return std::move(problems_);
}

void DeepSpeedRules::apply_row(const GivenKey& key) {
  const DeepSpeedKey& row = *key.row;
  if (key.value.is_null()) return no_effect(key, "as if it were left out");
  if (row.fate == KeyFate::kIdle) return no_effect(key, row.text);
  if (key.automatic()) return done(key, "the run's options decide");
  if (row.fate == KeyFate::kOption) return set(key, row.text, value_text(key.value));
  if (row.fate == KeyFate::kDone) return done(key, row.text);
  if (row.fate == KeyFate::kFeature) {
    if (asks_for_something(key.value, config::Json::parse(row.fallback))) {
      fail("{}: {}", key.where, row.text);
    }
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
  if (!takes("batch_size")) return no_effect(*train, kNoBatches);
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
  if (type == nullptr) return;
  const std::string name = lower(text_of("optimizer.type"));
  if (name != "adam" && name != "adamw") {
    fail("{}: {} is not built: Adam or AdamW is expected", type->where,
         type->value.get<std::string>());
  }
  takes("learning_rate") ? done(*type, "AdamW") : no_effect(*type, "this verb has no optimizer");
}

void DeepSpeedRules::betas() {
  const GivenKey* betas = file_.find_explicit("optimizer.params.betas");
  if (betas == nullptr) return;
  const config::Json& pair = betas->value;
  if (pair.size() != 2 || !pair[0].is_number() || !pair[1].is_number()) {
    fail("{}: two numbers are expected, found {}", betas->where, config::json_text(pair));
  }
  assign(*betas, "adam_beta1", config::json_text(pair[0]));
  assign(*betas, "adam_beta2", config::json_text(pair[1]));
  done(*betas, "--adam_beta1, --adam_beta2");
}

// Whether Adam's weight decay is decoupled, and what else the optimizer's classes have by default.
// (torch's AdamW is the one of them that decays weights by default.)
void DeepSpeedRules::weight_decay() {
  const std::string name = lower(text_of("optimizer.type"));
  const GivenKey* decoupled = file_.find_explicit("optimizer.params.adam_w_mode");
  const bool adamw = name == "adamw" || decoupled == nullptr || decoupled->value == true;
  if (!name.empty()) {
    const bool of_torch = file_.value("optimizer.params.torch_adam").get<bool>();
    if (file_.find("optimizer.params.betas") == nullptr) {
      take_default("optimizer.params.betas[0]", "adam_beta1", "0.9");
      take_default("optimizer.params.betas[1]", "adam_beta2", "0.999");
    }
    take_default("optimizer.params.eps", "adam_epsilon", "1e-08");
    take_default("optimizer.params.weight_decay", "weight_decay", of_torch && adamw ? "0.01" : "0");
  }
  if (decoupled == nullptr) return;
  if (decoupled->value == true) return done(*decoupled, "weight decay is decoupled");
  if (adamw) return no_effect(*decoupled, "AdamW decouples weight decay whatever it says");
  if (takes("weight_decay") && run_.weight_decay != 0) {
    fail("{}: weight decay in the gradient is not built: write true, or a weight_decay of 0",
         decoupled->where);
  }
  done(*decoupled, "without weight decay both modes are one");
}

}  // namespace trireme::deepspeed
