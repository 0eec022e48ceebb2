#include "deepspeed/deepspeed.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "deepspeed/file.h"
#include "deepspeed/rules.h"

namespace trireme::deepspeed {
namespace {

// nullopt where the file says "auto".
std::optional<int64_t> size_or_auto(const DeepSpeedFile& file, std::string_view path) {
  const GivenKey* key = file.find(path);
  if (key != nullptr && key->automatic()) return std::nullopt;
  return file.value(path).get<int64_t>();
}

void read_zero(const DeepSpeedFile& file, DeepSpeedConfig& config) {
  const auto integer = [&](const char* name) {
    return file.value(std::string("zero_optimization.") + name).get<int64_t>();
  };
  config.zero_stage = integer("stage");
  const config::Json overlap = file.value("zero_optimization.overlap_comm");
  config.overlap_comm = overlap.is_null() ? config.zero_stage == 3 : overlap.get<bool>();
  config.reduce_bucket_size = size_or_auto(file, "zero_optimization.reduce_bucket_size");
  config.prefetch_bucket_size = size_or_auto(file, "zero_optimization.stage3_prefetch_bucket_size");
  config.param_persistence_threshold =
      size_or_auto(file, "zero_optimization.stage3_param_persistence_threshold");
  config.allgather_bucket_size = integer("allgather_bucket_size");
  config.sub_group_size = integer("sub_group_size");
  config.max_live_parameters = integer("stage3_max_live_parameters");
  config.max_reuse_distance = integer("stage3_max_reuse_distance");
}

void read_activations(const DeepSpeedFile& file, DeepSpeedConfig::ActivationCheckpointing& config) {
  const auto value = [&](const char* name) {
    return file.value(std::string("activation_checkpointing.") + name);
  };
  config.partition_activations = value("partition_activations").get<bool>();
  config.cpu_checkpointing = value("cpu_checkpointing").get<bool>();
  config.contiguous_memory_optimization = value("contiguous_memory_optimization").get<bool>();
  config.synchronize_checkpoint_boundary = value("synchronize_checkpoint_boundary").get<bool>();
  config.profile = value("profile").get<bool>();
  const config::Json checkpoints = value("number_checkpoints");
  config.number_checkpoints = checkpoints.is_null() ? 0 : checkpoints.get<int64_t>();
}

// A key that ended nowhere would be ignored without a word.
void check_every_key_ended(const DeepSpeedFile& file, const DeepSpeed& result) {
  for (const GivenKey& key : file.keys()) {
    const bool ended = std::ranges::count(result.done, key.path, &DeepSpeedEntry::key) +
                           std::ranges::count(result.no_effect, key.path, &DeepSpeedEntry::key) ==
                       1;
    TRIREME_CHECK(ended, "{}", key.where);
  }
}

void refuse(const std::vector<std::string>& problems) {
  if (problems.empty()) return;
  for (size_t i = 0; i + 1 < problems.size(); ++i) log("{}", problems[i]);
  throw UserError(problems.back());
}

config::Json list_json(const std::vector<DeepSpeedEntry>& entries, const char* text_name) {
  config::Json list = config::Json::object();
  for (const DeepSpeedEntry& entry : entries) {
    list[entry.key] = {{"value", entry.value}, {text_name, entry.text}};
  }
  return list;
}

}  // namespace

DeepSpeed apply_deepspeed(std::string_view text, const std::string& name, config::Verb verb,
                          int64_t ranks, config::RunConfig& run) {
  const DeepSpeedFile file(text, name);
  DeepSpeed result;
  std::vector<std::string> problems = file.problems();
  for (std::string& problem : DeepSpeedRules(file, verb, ranks, run, result).apply()) {
    problems.push_back(std::move(problem));
  }
  refuse(problems);
  check_every_key_ended(file, result);
  read_zero(file, result.config);
  read_activations(file, result.config.activation_checkpointing);
  const config::Json type = file.value("communication_data_type");
  if (!type.is_null()) result.config.communication_data_type = type.get<std::string>();
  return result;
}

config::Json to_json(const DeepSpeed& deepspeed) {
  return {{"done", list_json(deepspeed.done, "how")},
          {"no_effect", list_json(deepspeed.no_effect, "why")}};
}

std::vector<std::string> lines(const std::vector<DeepSpeedEntry>& entries) {
  std::vector<std::string> texts, result;
  for (const DeepSpeedEntry& entry : entries) {
    const auto at = std::ranges::find(texts, entry.text) - texts.begin();
    const std::string item = escaped(fmt::format("{} = {}", entry.key, shown(entry.value)));
    if (at == std::ssize(texts)) {
      texts.push_back(entry.text);
      result.push_back(item);
    } else {
      result[static_cast<size_t>(at)] += ", " + item;
    }
  }
  for (size_t i = 0; i < texts.size(); ++i) result[i] += ": " + texts[i];
  return result;
}

}  // namespace trireme::deepspeed
