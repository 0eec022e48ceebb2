// ZeRO, offload, activation checkpointing and parallel sizes.
#include "deepspeed/keys.h"

namespace trireme::deepspeed {
namespace {

using enum KeyKind;
using enum KeyFate;

constexpr auto kBlocks = "ranks exchange a block (embedding, a layer, head) in one collective";
constexpr auto kNextLayer = "the next layer's weights come while one is at work; no more are whole";
constexpr auto kAllRanks = "weights are sharded over all ranks that share them";
constexpr auto kNoTensor = "no tensor parallelism in this version";
constexpr auto kNoPipeline = "no pipeline in this version";
constexpr auto kPinned = "weights on the host are pinned";
constexpr auto kHostAdam = "one implementation of AdamW on the host, on all of --threads";
constexpr auto kPageable = "what is copied is pinned, and nothing else";
constexpr auto kNoDisk = "training state is never kept on a disk";
constexpr auto kNotBuilt = "not built: leave it out";
constexpr auto kLossy = "lossy communication is not built: leave it out";
constexpr auto kNoModules = "kernels are called directly: there are no modules to wrap";
constexpr auto kNoShards = "weights are read from a Hugging Face folder";

std::vector<DeepSpeedKey> stage_keys() {
  return {
      {"zero_optimization", kSection, "{}", kOpen},
      {"zero_optimization.stage", kInteger, "0", kRule, "sets --zero_stage", "", 0},
      {"zero_optimization.contiguous_gradients", kFlag, "true", kRule,
       "the gradients of a block are one buffer, whatever it says"},
      {"zero_optimization.reduce_scatter", kFlag, "true", kIdle, kBlocks},
      {"zero_optimization.reduce_bucket_size", kInteger, "500000000", kIdle, kBlocks, "", 0},
      {"zero_optimization.use_multi_rank_bucket_allreduce", kFlag, "true", kIdle, kBlocks},
      {"zero_optimization.allgather_partitions", kFlag, "true", kIdle, kBlocks},
      {"zero_optimization.allgather_bucket_size", kInteger, "500000000", kIdle, kBlocks, "", 0},
      {"zero_optimization.overlap_comm", kFlag, "null", kIdle,
       "collectives run beside the computation"},
      {"zero_optimization.compute_grad_norm", kFlag, "true", kDone, "metrics.jsonl has the norm"},
      {"zero_optimization.load_from_fp32_weights", kFlag, "true", kIdle, kNoShards},
      {"zero_optimization.elastic_checkpoint", kFlag, "false", kIdle, kNoShards},
      {"zero_optimization.pipeline_loading_checkpoint", kFlag, "false", kIdle, kNoShards},
      {"zero_optimization.sub_group_size", kInteger, "1000000000", kIdle,
       "the optimizer goes through the model block by block", "", 0},
      {"zero_optimization.parameter_alignment", kFlag, "false", kIdle, kBlocks},
      {"zero_optimization.ignore_unused_parameters", kFlag, "true", kIdle,
       "every trained parameter has a gradient"},
      {"zero_optimization.legacy_stage1", kFlag, "false", kIdle, kBlocks},
      {"zero_optimization.round_robin_gradients", kFlag, "false", kIdle, kBlocks},
      {"zero_optimization.zero_hpz_partition_size", kInteger, "1", kIdle, kAllRanks, "", 0},
      {"zero_optimization.zero_quantized_weights", kFlag, "false", kOnly, kLossy},
      {"zero_optimization.zero_quantized_nontrainable_weights", kFlag, "false", kOnly, kLossy},
      {"zero_optimization.zero_quantized_gradients", kFlag, "false", kOnly, kLossy},
      {"zero_optimization.zeropp_loco_param", kAnything, "null", kFeature, kLossy},
      {"zero_optimization.mics_shard_size", kInteger, "-1", kIdle, kAllRanks},
      {"zero_optimization.mics_hierarchical_params_gather", kFlag, "false", kIdle, kAllRanks},
      {"zero_optimization.memory_efficient_linear", kFlag, "true", kIdle, kNoModules},
      {"zero_optimization.override_module_apply", kFlag, "true", kIdle, kNoModules},
      {"zero_optimization.log_trace_cache_warnings", kFlag, "false", kIdle, kNoModules},
      {"zero_optimization.enable_sanity_checks", kFlag, "false", kIdle, kNoModules},
      {"zero_optimization.save_muon_momentum_buffer_in_memory", kFlag, "false", kIdle,
       "the optimizer is AdamW"},
      {"zero_optimization.leaf_module", kAnything, "{}", kIdle, kNoModules},
      {"zero_optimization.zenflow", kAnything, "null", kFeature, kNotBuilt},
  };
}

std::vector<DeepSpeedKey> stage3_keys() {
  return {
      {"zero_optimization.stage3_prefetch_bucket_size", kInteger, "50000000", kIdle, kNextLayer, "",
       0},
      {"zero_optimization.stage3_param_persistence_threshold", kInteger, "100000", kIdle, kBlocks,
       "", 0},
      {"zero_optimization.stage3_model_persistence_threshold", kInteger, "9223372036854775807",
       kIdle, kBlocks, "", 0},
      {"zero_optimization.stage3_max_live_parameters", kInteger, "1000000000", kIdle, kNextLayer,
       "", 0},
      {"zero_optimization.stage3_max_reuse_distance", kInteger, "1000000000", kIdle, kNextLayer, "",
       0},
      {"zero_optimization.stage3_gather_16bit_weights_on_model_save", kFlag, "false", kDone,
       "every checkpoint is written whole"},
      {"zero_optimization.stage3_module_granularity_threshold", kInteger, "0", kIdle, kBlocks},
      {"zero_optimization.stage3_use_all_reduce_for_fetch_params", kFlag, "false", kIdle, kBlocks},
      {"zero_optimization.stage3_allgather_sequential", kFlag, "false", kIdle, kBlocks},
      // DeepSpeed takes the names without their prefix, and old ones.
      {"zero_optimization.prefetch_bucket_size", kInteger, "", kAlias,
       "zero_optimization.stage3_prefetch_bucket_size"},
      {"zero_optimization.param_persistence_threshold", kInteger, "", kAlias,
       "zero_optimization.stage3_param_persistence_threshold"},
      {"zero_optimization.model_persistence_threshold", kInteger, "", kAlias,
       "zero_optimization.stage3_model_persistence_threshold"},
      {"zero_optimization.max_live_parameters", kInteger, "", kAlias,
       "zero_optimization.stage3_max_live_parameters"},
      {"zero_optimization.max_reuse_distance", kInteger, "", kAlias,
       "zero_optimization.stage3_max_reuse_distance"},
      {"zero_optimization.gather_16bit_weights_on_model_save", kFlag, "", kAlias,
       "zero_optimization.stage3_gather_16bit_weights_on_model_save"},
      {"zero_optimization.stage3_gather_fp16_weights_on_model_save", kFlag, "", kAlias,
       "zero_optimization.stage3_gather_16bit_weights_on_model_save"},
      {"zero_optimization.module_granularity_threshold", kInteger, "", kAlias,
       "zero_optimization.stage3_module_granularity_threshold"},
      {"zero_optimization.use_all_reduce_for_fetch_params", kFlag, "", kAlias,
       "zero_optimization.stage3_use_all_reduce_for_fetch_params"},
      {"zero_optimization.allgather_sequential", kFlag, "", kAlias,
       "zero_optimization.stage3_allgather_sequential"},
  };
}

std::vector<DeepSpeedKey> offload_keys() {
  return {
      {"zero_optimization.offload_optimizer", kSection, "{}", kOpen},
      {"zero_optimization.offload_optimizer.device", kText, "\"none\"", kRule,
       "sets --offload_optimizer; cpu leaves a stream that was given; nvme is refused",
       "none|cpu|nvme"},
      {"zero_optimization.offload_optimizer.nvme_path", kText, "null", kIdle, kNoDisk},
      {"zero_optimization.offload_optimizer.buffer_count", kInteger, "4", kIdle, kNoDisk, "", 0},
      {"zero_optimization.offload_optimizer.pin_memory", kFlag, "true", kIdle, kPageable},
      {"zero_optimization.offload_optimizer.pipeline_read", kFlag, "false", kIdle, kNoDisk},
      {"zero_optimization.offload_optimizer.pipeline_write", kFlag, "false", kIdle, kNoDisk},
      {"zero_optimization.offload_optimizer.pipeline", kFlag, "false", kIdle, kNoDisk},
      {"zero_optimization.offload_optimizer.fast_init", kFlag, "false", kIdle, kNoDisk},
      {"zero_optimization.offload_optimizer.ratio", kNumber, "1.0", kRule,
       "no effect: the optimizer's whole state is on the host, or none of it", "", 0},
      {"zero_optimization.offload_optimizer.super_offload", kFlag, "false", kIdle, kHostAdam},
      {"zero_optimization.offload_optimizer.cpuadam_cores_perc", kNumber, "0.8", kIdle, kHostAdam,
       "", 0},
      {"zero_optimization.offload_param", kSection, "{}", kOpen},
      {"zero_optimization.offload_param.device", kText, "\"none\"", kRule,
       "with LoRA sets --offload_param, else no effect; nvme is refused", "none|cpu|nvme"},
      {"zero_optimization.offload_param.nvme_path", kText, "null", kIdle, kNoDisk},
      {"zero_optimization.offload_param.buffer_count", kInteger, "5", kIdle, kNoDisk, "", 0},
      {"zero_optimization.offload_param.buffer_size", kInteger, "100000000", kIdle, kNoDisk, "", 0},
      {"zero_optimization.offload_param.max_in_cpu", kInteger, "1000000000", kIdle, kNoDisk, "", 0},
      {"zero_optimization.offload_param.pin_memory", kFlag, "true", kIdle, kPinned},
      {"zero_optimization.cpu_offload", kFlag, "null", kRule,
       "the old name of offload_optimizer.device: true = cpu"},
      {"zero_optimization.cpu_offload_param", kFlag, "null", kRule,
       "the old name of offload_param.device: true = cpu"},
      {"zero_optimization.cpu_offload_use_pin_memory", kFlag, "null", kIdle, kPageable},
      {"aio", kSection, "{}", kOpen},
      {"aio.block_size", kInteger, "1048576", kIdle, kNoDisk},
      {"aio.queue_depth", kInteger, "8", kIdle, kNoDisk},
      {"aio.thread_count", kInteger, "1", kIdle, kNoDisk},
      {"aio.intra_op_parallelism", kInteger, "1", kIdle, kNoDisk},
      {"aio.single_submit", kFlag, "false", kIdle, kNoDisk},
      {"aio.overlap_events", kFlag, "true", kIdle, kNoDisk},
      {"aio.use_gds", kFlag, "false", kIdle, kNoDisk},
  };
}

std::vector<DeepSpeedKey> activation_keys() {
  return {
      {"activation_checkpointing", kSection, "{}", kOpen},
      {"activation_checkpointing.partition_activations", kFlag, "false", kIdle,
       "inputs of layers are cut by sequence already: no tensor-parallel rank has a copy"},
      {"activation_checkpointing.cpu_checkpointing", kFlag, "false", kRule,
       "true: --offload_activations all"},
      {"activation_checkpointing.contiguous_memory_optimization", kFlag, "false", kDone,
       "always on: what goes to the host is one piece of memory"},
      {"activation_checkpointing.number_checkpoints", kInteger, "null", kOption,
       "number_checkpoints", "", 1},
      {"activation_checkpointing.synchronize_checkpoint_boundary", kFlag, "false", kIdle,
       "nothing needs the host to wait for the device there"},
      {"activation_checkpointing.profile", kFlag, "false", kIdle,
       "trireme bench and trireme bench --profile measure"},
  };
}

std::vector<DeepSpeedKey> parallel_keys() {
  constexpr auto kModels = "layers are found by the model's family";
  return {
      {"sequence_parallel", kSection, "{}", kOpen},
      {"sequence_parallel.enabled", kFlag, "true", kRule,
       "false: the section's size has no effect"},
      {"sequence_parallel.type", kText, "\"ulysses\"", kRule,
       "sets --sequence_parallel_type (all_to_all = ulysses); one that was given stays",
       "ulysses|all_to_all|ring|hybrid"},
      {"sequence_parallel.size", kInteger, "1", kRule,
       "sets --sequence_parallel_size; one that was given stays", "", 1},
      {"sequence_parallel_size", kInteger, "1", kRule, "as sequence_parallel.size", "", 1},
      {"tensor_parallel", kSection, "{}", kOpen},
      {"tensor_parallel.autotp_size", kInteger, "0", kRule, "more than 1 is refused: not built", "",
       0},
      {"tensor_parallel.tp_overlap_comm", kFlag, "false", kIdle, kNoTensor},
      {"tensor_parallel.dtype", kText, "null", kIdle, "--dtype decides"},
      {"tensor_parallel.tp", kAnything, "{}", kIdle, "autotp_size counts"},
      {"tensor_parallel.tensor_parallel", kAnything, "{}", kIdle, "autotp_size counts"},
      {"tensor_parallel.partition_config", kAnything, "null", kIdle, kModels},
      {"tensor_parallel.preset_model", kText, "null", kIdle, kModels},
      {"tensor_parallel.injection_policy_tuple", kAnything, "null", kIdle, kModels},
      {"tensor_parallel.keep_module_on_host", kFlag, "false", kIdle, kModels},
      {"tensor_parallel.replace_with_kernel_inject", kFlag, "false", kIdle, kModels},
      {"tensor_parallel.vocab_parallel_lm_head", kFlag, "null", kIdle, kNoTensor},
      {"tensor_parallel.vocab_parallel_ce_backend", kText, "\"torch\"", kIdle, kNoTensor,
       "torch|liger"},
      {"pipeline", kSection, "{}", kOpen},
      {"pipeline.stages", kInteger, "1", kRule, "more than 1 is refused: not built", "", 1},
      {"pipeline.partition", kText, "\"best\"", kIdle, kNoPipeline},
      {"pipeline.seed_layers", kFlag, "false", kIdle, kModels},
      {"pipeline.activation_checkpoint_interval", kInteger, "0", kIdle,
       "--number_checkpoints decides", "", 0},
      {"pipeline.pipe_partitioned", kFlag, "true", kIdle, kNoPipeline},
      {"pipeline.grad_partitioned", kFlag, "true", kIdle, kNoPipeline},
      {"use_data_before_expert_parallelism", kFlag, "false", kIdle, kAllRanks},
  };
}

// The other keys of expert_parallel describe to DeepSpeed where the experts of a module are.
std::vector<DeepSpeedKey> expert_keys() {
  constexpr auto kFamily = "experts and router are the model family's own";
  std::vector<DeepSpeedKey> keys = {
      {"expert_parallel", kSection, "{}", kOpen},
      {"expert_parallel.enabled", kFlag, "false", kRule,
       "false: the section's sizes have no effect"},
      {"expert_parallel.autoep_size", kInteger, "1", kRule, "more than 1 is refused: not built", "",
       1},
      {"expert_parallel.expert_tensor_parallel_size", kInteger, "1", kRule,
       "more than 1 is refused: not built", "", 1},
  };
  for (const char* path : {"expert_parallel.preset_model",
                           "expert_parallel.validate_folding_routing",
                           "expert_parallel.async_split_plan",
                           "expert_parallel.moe_layer_pattern",
                           "expert_parallel.expert_pattern",
                           "expert_parallel.router_pattern",
                           "expert_parallel.use_grouped_mm",
                           "expert_parallel.disable_triton_grouped_mm",
                           "expert_parallel.route_norm",
                           "expert_parallel.route_scale",
                           "expert_parallel.score_apply",
                           "expert_parallel.combine_impl",
                           "expert_parallel.row_weighting_impl",
                           "expert_parallel.gate_up_impl",
                           "expert_parallel.comm_backend",
                           "expert_parallel.comm_num_sm",
                           "expert_parallel.comm_qp_margin",
                           "expert_parallel.comm_max_tokens_per_rank",
                           "expert_parallel.num_expert_groups",
                           "expert_parallel.num_limited_groups",
                           "expert_parallel.score_func",
                           "expert_parallel.top_k",
                           "expert_parallel.load_balance_coeff",
                           "expert_parallel.routed_scaling_factor",
                           "expert_parallel.expert_w1",
                           "expert_parallel.expert_w2",
                           "expert_parallel.expert_w3",
                           "expert_parallel.num_experts_attr",
                           "expert_parallel.top_k_attr",
                           "expert_parallel.has_shared_experts",
                           "expert_parallel.shared_experts_pattern",
                           "expert_parallel.shared_experts_gate_pattern",
                           "expert_parallel.expert_activation"}) {
    keys.push_back({path, kAnything, "null", kIdle, kFamily});
  }
  return keys;
}

}  // namespace

std::vector<DeepSpeedKey> deepspeed_zero_keys() {
  std::vector<DeepSpeedKey> keys = stage_keys();
  for (const auto& part :
       {stage3_keys(), offload_keys(), activation_keys(), parallel_keys(), expert_keys()}) {
    keys.insert(keys.end(), part.begin(), part.end());
  }
  return keys;
}

}  // namespace trireme::deepspeed
