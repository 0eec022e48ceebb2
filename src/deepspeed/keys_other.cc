// Reports, checkpoints, compilers, and experiments of DeepSpeed.
#include "deepspeed/keys.h"

namespace trireme::deepspeed {
namespace {

using enum KeyKind;
using enum KeyFate;

std::vector<DeepSpeedKey> report_keys() {
  constexpr auto kBench = "trireme bench --profile measures";
  constexpr auto kMemory = "the memory table is printed at the start";
  constexpr auto kMetrics = "metrics.jsonl and --wandb_project have the reports";
  constexpr auto kCounted = "trireme bench prints what ranks exchanged";
  return {
      {"wall_clock_breakdown", kFlag, "false", kIdle, kBench},
      {"memory_breakdown", kFlag, "false", kIdle, kMemory},
      {"dump_state", kFlag, "false", kIdle, "run.json has the settings"},
      {"log_level", kText, "null", kIdle, kMetrics},
      {"timers", kAnything, "{}", kIdle, kBench},
      {"flops_profiler", kSection, "{}", kOpen},
      {"flops_profiler.enabled", kFlag, "false", kIdle, kBench},
      {"flops_profiler.recompute_fwd_factor", kNumber, "0.0", kIdle, kBench},
      {"flops_profiler.profile_step", kInteger, "1", kIdle, kBench},
      {"flops_profiler.module_depth", kInteger, "-1", kIdle, kBench},
      {"flops_profiler.top_modules", kInteger, "1", kIdle, kBench},
      {"flops_profiler.detailed", kFlag, "true", kIdle, kBench},
      {"flops_profiler.output_file", kText, "null", kIdle, kBench},
      {"comms_logger", kSection, "{}", kOpen},
      {"comms_logger.enabled", kFlag, "false", kIdle, kCounted},
      {"comms_logger.prof_all", kFlag, "true", kIdle, kCounted},
      {"comms_logger.prof_ops", kList, "[]", kIdle, kCounted},
      {"comms_logger.verbose", kFlag, "false", kIdle, kCounted},
      {"comms_logger.debug", kFlag, "false", kIdle, kCounted},
      {"tensorboard", kSection, "{}", kOpen},
      {"tensorboard.enabled", kFlag, "false", kIdle, kMetrics},
      {"tensorboard.output_path", kText, "\"\"", kIdle, kMetrics},
      {"tensorboard.job_name", kText, "\"DeepSpeedJobName\"", kIdle, kMetrics},
      {"csv_monitor", kSection, "{}", kOpen},
      {"csv_monitor.enabled", kFlag, "false", kIdle, kMetrics},
      {"csv_monitor.output_path", kText, "\"\"", kIdle, kMetrics},
      {"csv_monitor.job_name", kText, "\"DeepSpeedJobName\"", kIdle, kMetrics},
      {"wandb", kSection, "{}", kOpen},
      {"wandb.enabled", kFlag, "false", kIdle, kMetrics},
      {"wandb.group", kText, "null", kIdle, kMetrics},
      {"wandb.team", kText, "null", kIdle, kMetrics},
      {"wandb.project", kText, "\"deepspeed\"", kIdle, kMetrics},
      {"comet", kAnything, "{}", kIdle, kMetrics},
      {"monitor_config", kAnything, "null", kIdle,
       "DeepSpeed passes over it: its sections are tensorboard, wandb and csv_monitor"},
      {"comms_config", kAnything, "null", kIdle,
       "DeepSpeed passes over it: its section is comms_logger"},
  };
}

std::vector<DeepSpeedKey> checkpoint_keys() {
  constexpr auto kFolders = "checkpoints are whole Hugging Face folders, written by one rank";
  return {
      {"checkpoint", kSection, "{}", kOpen},
      {"checkpoint.tag_validation", kText, "\"Warn\"", kIdle, kFolders},
      {"checkpoint.load_universal", kFlag, "false", kIdle, kFolders},
      {"checkpoint.use_node_local_storage", kFlag, "false", kIdle, kFolders},
      {"checkpoint.checkpoint_serialization", kFlag, "true", kIdle, kFolders},
      {"checkpoint.parallel_write", kSection, "{}", kOpen},
      {"checkpoint.parallel_write.pipeline_stage", kFlag, "false", kIdle, kFolders},
      {"checkpoint.writer", kSection, "null", kOpen},
      {"checkpoint.writer.type", kText, "\"FAST\"", kIdle, kFolders},
      {"checkpoint.writer.decoupled", kFlag, "false", kIdle, kFolders},
      {"checkpoint.writer.io_buffer_size", kInteger, "1073741824", kIdle, kFolders},
      {"checkpoint.writer.io_buffer_double", kFlag, "true", kIdle, kFolders},
      {"checkpoint.writer.io_multiplier", kNumber, "1", kIdle, kFolders},
      {"checkpoint.writer.show_statistics", kFlag, "false", kIdle, kFolders},
      {"checkpoint.writer.data_parallel", kText, "null", kIdle, kFolders},
      {"nebula", kAnything, "{}", kFeature, "Azure's checkpoint service is not used: leave it out"},
      {"datastates_ckpt", kAnything, "{}", kFeature, "not built: leave it out"},
  };
}

std::vector<DeepSpeedKey> compiler_keys() {
  constexpr auto kCompiled = "kernels are compiled ahead: no graph is captured";
  std::vector<DeepSpeedKey> keys = {
      {"compile", kSection, "{}", kOpen},
      {"compile.passes", kList, "null", kIdle, kCompiled},
      {"compile.backend", kText, "\"inductor\"", kIdle, kCompiled},
      {"compile.kwargs", kAnything, "{}", kIdle, kCompiled},
      {"compile.free_activation_threshold", kInteger, "10485760", kIdle, kCompiled, "", 0},
      {"graph_harvesting", kFlag, "false", kIdle, kCompiled},
      {"disable_python_gc", kFlag, "false", kIdle, "there is no Python in the process"},
      {"vocabulary_size", kInteger, "null", kIdle, "the model's config.json has it", "", 0},
  };
  for (const char* path :
       {"compile.deepcompile", "compile.disable", "compile.autoep_non_moe",
        "compile.free_activation", "compile.offload_activation",
        "compile.offload_activation_pin_memory", "compile.offload_opt_states",
        "compile.offload_parameters", "compile.symmetric_memory", "compile.debug_log",
        "compile.sync_before_reduce", "compile.sync_after_reduce", "compile.sync_before_allgather",
        "compile.sync_after_allgather", "compile.keep_all_input_tensors"}) {
    keys.push_back({path, kFlag, "false", kIdle, kCompiled});
  }
  for (const char* path : {"compile.double_buffer", "compile.keep_int_input_tensors"}) {
    keys.push_back({path, kFlag, "true", kIdle, kCompiled});
  }
  return keys;
}

// Each of these changes what is trained, and is not built: off is accepted, on is refused.
std::vector<DeepSpeedKey> experiment_keys() {
  constexpr auto kNotBuilt = "not built: leave it out, or set its \"enabled\" to false";
  std::vector<DeepSpeedKey> keys = {
      {"elasticity", kAnything, R"({"enabled": false})", kFeature,
       "the number of ranks does not change during a run: leave it out"},
      {"autotuning", kAnything, R"({"enabled": false})", kFeature,
       "tile sizes and what is kept are planned by themselves: leave it out"}};
  for (const char* path : {"progressive_layer_drop", "curriculum_learning", "data_efficiency",
                           "eigenvalue", "hybrid_engine"}) {
    keys.push_back({path, kAnything, R"({"enabled": false})", kFeature, kNotBuilt});
  }
  for (const char* path :
       {"compression_training", "sparse_attention", "quantize_training", "weight_quantization"}) {
    keys.push_back({path, kAnything, "{}", kFeature, kNotBuilt});
  }
  return keys;
}

}  // namespace

std::vector<DeepSpeedKey> deepspeed_other_keys() {
  std::vector<DeepSpeedKey> keys = report_keys();
  for (const auto& part : {checkpoint_keys(), compiler_keys(), experiment_keys()}) {
    keys.insert(keys.end(), part.begin(), part.end());
  }
  return keys;
}

}  // namespace trireme::deepspeed
