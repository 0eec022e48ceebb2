// The rows, by what they are about. A name with several values has its rows together, the one for
// any value last.
#include <vector>

#include "config/names.h"

namespace trireme::config {
namespace {

using enum NameFate;
using Rows = std::vector<ForeignName>;

constexpr auto kKernels = "the attention kernel follows from the device; all compute the same";
constexpr auto kMetrics = "metrics.jsonl in --output_dir has what is measured";
constexpr auto kPlanned = "what is kept and what is recomputed is planned: --keep";
constexpr auto kOwnTemplate = "the model folder's own chat template is used";
constexpr auto kThreads = "samples are made at the start, by --threads";
constexpr auto kLoss = "the loss never has all logits at once: --loss_tile";
constexpr auto kNoPython = "no Python code of a model is run: its family is built in";
constexpr auto kTarget = "only the review that is to be written is trained";
constexpr auto kNoQuantised =
    "quantised weights are not built: LoRA on bfloat16 weights fits with --offload_param cpu";
constexpr auto kEvalEvery = "give --eval_every N, in epochs";
constexpr auto kValRatio = "validation takes a part of --data_file: give --val_ratio";
constexpr auto kDataFile = "give the file of reviews: --data_file FILE";

Rows file_rows() {
  return {
      {"model_name_or_path", "", kAlias, "model"},
      {"base_model", "", kAlias, "model"},
      {"tokenizer_name", "", kAlias, "tokenizer"},
      {"tokenizer_name_or_path", "", kAlias, "tokenizer"},
      {"train_file", "", kAlias, "data_file"},
      {"data_path", "", kAlias, "data_file"},
      {"dataset", "", kRefused, kDataFile},
      {"datasets", "", kRefused, kDataFile},
      {"dataset_dir", "", kRefused, kDataFile},
      {"validation_file", "", kRefused, kValRatio},
      {"eval_dataset", "", kRefused, kValRatio},
      {"val_dataset", "", kRefused, kValRatio},
      {"model_type", "", kNotNeeded, "config.json says of which family the model is"},
      {"overwrite_output_dir", "", kAlias, "overwrite"},
      {"resume_from_checkpoint", "false", kNotNeeded, "a run starts at its first step"},
      {"resume_from_checkpoint", "none", kNotNeeded, "a run starts at its first step"},
      {"resume_from_checkpoint", "true", kAlias, "resume", "auto"},
      {"resume_from_checkpoint", "", kAlias, "resume"},
      {"trust_remote_code", "", kNotNeeded, kNoPython},
      {"push_to_hub", "false", kNotNeeded, "results stay in --output_dir"},
      {"push_to_hub", "", kRefused, "not built: upload --output_dir with the hf program"},
  };
}

Rows sample_rows() {
  return {
      {"cutoff_len", "", kAlias, "max_length"},
      {"max_seq_length", "", kAlias, "max_length"},
      {"sequence_len", "", kAlias, "max_length"},
      {"model_max_length", "", kAlias, "max_length"},
      {"val_size", "", kAlias, "val_ratio"},
      {"val_set_size", "", kAlias, "val_ratio"},
      {"split_dataset_ratio", "", kAlias, "val_ratio"},
      {"sample_packing", "", kAlias, "packing"},
      {"neat_packing", "", kAlias, "packing"},
      {"template", "", kNotNeeded, kOwnTemplate},
      {"train_on_prompt", "false", kNotNeeded, kTarget},
      {"train_on_prompt", "", kRefused, kTarget},
      {"train_on_inputs", "false", kNotNeeded, kTarget},
      {"train_on_inputs", "", kRefused, kTarget},
      {"remove_unused_columns", "", kNotNeeded, "columns that are not read are passed over"},
      {"dataloader_num_workers", "", kNotNeeded, kThreads},
      {"preprocessing_num_workers", "", kNotNeeded, kThreads},
      {"dataset_num_proc", "", kNotNeeded, kThreads},
      {"dataloader_pin_memory", "", kNotNeeded, "batches are a few bytes a token"},
      {"overwrite_cache", "", kNotNeeded, "nothing is cached"},
      {"group_by_length", "false", kNotNeeded, "that is how it is"},
      {"group_by_length", "", kRefused, "samples of all lengths are packed: leave it out"},
  };
}

Rows loop_rows() {
  return {
      {"num_train_epochs", "", kAlias, "max_epochs"},
      {"num_epochs", "", kAlias, "max_epochs"},
      {"max_steps", "-1", kAlias, "max_steps", "0"},
      {"per_device_train_batch_size", "", kAlias, "batch_size"},
      {"per_gpu_train_batch_size", "", kAlias, "batch_size"},
      {"micro_batch_size", "", kAlias, "batch_size"},
      {"per_device_eval_batch_size", "", kAlias, "eval_batch_size"},
      {"do_train", "true", kNotNeeded, "train trains"},
      {"do_train", "", kRefused, "use another verb: trireme help lists them"},
      {"do_eval", "", kNotNeeded, "--val_ratio and --eval_every decide"},
      {"stage", "sft", kNotNeeded, "that is what train does"},
      {"stage", "", kRefused, "only supervised fine-tuning (sft) is built"},
      {"eval_strategy", "epoch", kAlias, "eval_every", "1"},
      {"eval_strategy", "no", kRefused, "give --val_ratio 0"},
      {"eval_strategy", "", kRefused, kEvalEvery},
      {"evaluation_strategy", "epoch", kAlias, "eval_every", "1"},
      {"evaluation_strategy", "no", kRefused, "give --val_ratio 0"},
      {"evaluation_strategy", "", kRefused, kEvalEvery},
      {"eval_steps", "", kRefused, kEvalEvery},
      {"evals_per_epoch", "", kRefused, kEvalEvery},
      {"saves_per_epoch", "", kRefused, "give --save_steps N"},
      {"save_strategy", "no", kAlias, "save_steps", "0"},
      {"save_strategy", "steps", kNotNeeded, "--save_steps decides"},
      {"save_strategy", "", kRefused, "give --save_steps N"},
      {"save_safetensors", "true", kNotNeeded, "weights are always safetensors"},
      {"save_safetensors", "", kRefused, "weights are always safetensors: leave it out"},
      {"load_best_model_at_end", "true", kNotNeeded, "the best weights are the result"},
      {"load_best_model_at_end", "", kRefused,
       "the best weights are the result; without validation (--val_ratio 0) the last"},
      {"metric_for_best_model", "eval_loss", kNotNeeded, "that is the measure"},
      {"metric_for_best_model", "loss", kNotNeeded, "that is the measure"},
      {"metric_for_best_model", "", kRefused, "the validation loss is the measure: leave it out"},
      {"greater_is_better", "false", kNotNeeded, "the least validation loss is best"},
      {"greater_is_better", "", kRefused, "the least validation loss is best: leave it out"},
      {"logging_strategy", "steps", kNotNeeded, "--logging_steps decides"},
      {"logging_strategy", "", kRefused, "give --logging_steps N"},
      {"logging_dir", "", kNotNeeded, kMetrics},
      {"report_to", "", kNotNeeded, kMetrics},
      {"plot_loss", "", kNotNeeded, kMetrics},
      {"include_num_input_tokens_seen", "", kNotNeeded, kMetrics},
      {"run_name", "", kAlias, "wandb_run_name"},
      {"disable_tqdm", "", kNotNeeded, "progress is a line every --logging_steps"},
  };
}

Rows optimizer_rows() {
  Rows rows = {
      {"warmup_ratio", "0", kNotNeeded, "there is none by default"},
      {"warmup_ratio", "0.0", kNotNeeded, "there is none by default"},
      {"warmup_ratio", "", kRefused, "give --warmup_steps N"},
      {"lr_scheduler_type", "constant_with_warmup", kAlias, "lr_scheduler_type", "constant"},
      {"lr_scheduler", "", kAlias, "lr_scheduler_type"},
      {"data_seed", "", kRefused, "give --seed, which is also that of the order of samples"},
      {"label_smoothing_factor", "0", kNotNeeded, "that is how it is"},
      {"label_smoothing_factor", "", kRefused, "not built: leave it out"},
      {"neftune_noise_alpha", "", kRefused, "not built: leave it out"},
  };
  for (const std::string_view name : {"optim", "optimizer"}) {
    for (const std::string_view value :
         {"adamw", "adamw_torch", "adamw_torch_fused", "adamw_hf", "adamw_apex_fused"}) {
      rows.push_back({name, value, kNotNeeded, "AdamW is the optimizer"});
    }
    for (const std::string_view value : {"adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit"}) {
      rows.push_back({name, value, kAlias, "moments_dtype", "8bit"});
    }
    rows.push_back({name, "", kRefused, "AdamW is the only optimizer: leave it out"});
  }
  return rows;
}

Rows lora_rows() {
  Rows rows = {
      {"lora_rank", "", kAlias, "lora_r"},
      {"lora_target", "all", kAlias, "target_modules", "all-linear"},
      {"lora_target", "", kAlias, "target_modules"},
      {"lora_target_modules", "", kAlias, "target_modules"},
      {"lora_target_linear", "true", kAlias, "target_modules", "all-linear"},
      {"lora_target_linear", "", kNotNeeded, "--target_modules decides"},
      {"adapter_name_or_path", "", kAlias, "adapter"},
      {"lora_model_dir", "", kAlias, "adapter"},
  };
  for (const std::string_view name : {"finetuning_type", "train_type", "tuner_type", "sft_type"}) {
    rows.push_back({name, "lora", kAlias, "use_lora", "true"});
    rows.push_back({name, "full", kAlias, "use_lora", "false"});
    rows.push_back({name, "", kRefused, "not built: lora or full is expected"});
  }
  for (const std::string_view name : {"load_in_4bit", "load_in_8bit"}) {
    rows.push_back({name, "false", kNotNeeded, "weights are not quantised"});
    rows.push_back({name, "", kRefused, kNoQuantised});
  }
  for (const std::string_view name : {"quantization_bit", "quant_bits", "quant_method"}) {
    rows.push_back({name, "none", kNotNeeded, "weights are not quantised"});
    rows.push_back({name, "", kRefused, kNoQuantised});
  }
  return rows;
}

Rows machine_rows() {
  Rows rows = {
      {"bf16", "true", kAlias, "dtype", "auto"},
      {"bf16", "auto", kAlias, "dtype", "auto"},
      {"bf16", "false", kAlias, "dtype", "float32"},
      {"bf16", "", kRefused, "true or false is expected"},
      {"fp16", "false", kNotNeeded, "--dtype decides"},
      {"fp16", "", kRefused, "float16 training is not built: give --dtype bfloat16"},
      {"tf32", "", kNotNeeded, "products are in --dtype, and those in float32 are not rounded"},
      {"torch_dtype", "", kAlias, "dtype"},
      {"context_parallel_size", "", kAlias, "sequence_parallel_size"},
      {"sequence_parallel_degree", "", kAlias, "sequence_parallel_size"},
      {"ddp_timeout", "180000000", kAlias, "collective_timeout", "1048576"},
      {"ddp_timeout", "", kAlias, "collective_timeout"},
      {"fsdp", "", kRefused, "give --zero_stage 3, which shards weights as FSDP does"},
      {"torch_compile", "", kNotNeeded, "kernels are compiled ahead"},
      {"gradient_checkpointing", "", kNotNeeded, kPlanned},
      {"gradient_checkpointing_kwargs", "", kNotNeeded, kPlanned},
      {"ddp_find_unused_parameters", "", kNotNeeded, "every trained parameter has a gradient"},
      {"low_cpu_mem_usage", "", kNotNeeded, "weights are read once, block by block"},
      {"use_cache", "", kNotNeeded, "training has no cache"},
  };
  for (const std::string_view name : {"flash_attn", "attn_impl", "attn_implementation",
                                      "flash_attention", "use_flash_attn", "sdp_attention"}) {
    rows.push_back({name, "", kNotNeeded, kKernels});
  }
  for (const std::string_view name :
       {"use_liger_kernel", "enable_liger_kernel", "liger_fused_linear_cross_entropy"}) {
    rows.push_back({name, "", kNotNeeded, kLoss});
  }
  return rows;
}

}  // namespace

std::span<const ForeignName> foreign_names() {
  static const Rows list = [] {
    Rows rows;
    for (const Rows& part :
         {file_rows(), sample_rows(), loop_rows(), optimizer_rows(), lora_rows(), machine_rows()}) {
      rows.insert(rows.end(), part.begin(), part.end());
    }
    return rows;
  }();
  return list;
}

}  // namespace trireme::config
