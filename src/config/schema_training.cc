// The options of training and of the machine.
#include <algorithm>

#include "config/schema_options.h"

namespace trireme::config {
namespace {

constexpr auto kChanges = Numerics::kChanges;
constexpr unsigned kModelVerbs = kTrain | kGenerate;
// Of what is multiplied: three of them are a number of 64 bits.
constexpr double kMostCounted = 1 << 20;

std::vector<Option> optimizer_options() {
  std::vector<Option> options = {
      {.name = "learning_rate",
       .field = &RunConfig::learning_rate,
       .min = 0,
       .max = 1,
       .help = "peak learning rate of AdamW"},
      {.name = "lr_scheduler_type",
       .field = &RunConfig::lr_scheduler_type,
       .except = kBench,
       .help = "learning-rate schedule after warm-up: cosine or linear decay to 0, or constant"},
      {.name = "warmup_steps",
       .field = &RunConfig::warmup_steps,
       .unit = "steps",
       .min = 0,
       .except = kBench,
       .help = "steps of learning-rate warm-up"},
      {.name = "warmup_type",
       .field = &RunConfig::warmup_type,
       .except = kBench,
       .help = "how the learning rate goes from 0 to its peak: linear; log = as its logarithm, "
               "DeepSpeed's default"},
      {.name = "weight_decay",
       .field = &RunConfig::weight_decay,
       .min = 0,
       .max = 1,
       .help = "decoupled weight decay, of matrices only"},
      {.name = "adam_beta1",
       .field = &RunConfig::adam_beta1,
       .min = 0,
       .max = 0.999999,
       .help = "decay rate of AdamW's first moment"},
      {.name = "adam_beta2",
       .field = &RunConfig::adam_beta2,
       .min = 0,
       .max = 0.999999,
       .help = "decay rate of AdamW's second moment"},
      {.name = "adam_epsilon",
       .field = &RunConfig::adam_epsilon,
       .min = 1e-20,
       .max = 1,
       .help = "added to the square root of AdamW's second moment"},
      {.name = "max_grad_norm",
       .field = &RunConfig::max_grad_norm,
       .min = 0,
       .help = "gradients are scaled down to at most this norm; 0 = no clipping"},
      {.name = "moments_dtype",
       .field = &RunConfig::moments_dtype,
       .help = "format of AdamW's moments: float32; bfloat16 = rounded stochastically; 8bit = "
               "block-wise quantised with a dynamic code"},
      {.name = "master_weights",
       .field = &RunConfig::master_weights,
       .help = "keep float32 master copies of trained bfloat16 weights; off = update the "
               "weights themselves, rounded stochastically"},
  };
  for (Option& option : options) {
    option.numerics = kChanges;
    option.except |= kDump;
  }
  return options;
}

std::vector<Option> loop_options() {
  std::vector<Option> options = {
      {.name = "batch_size",
       .field = &RunConfig::batch_size,
       .unit = "sequences",
       .min = 1,
       .max = kMostCounted,
       .numerics = kChanges,
       .help = "sequences per micro-batch; with --packing off, samples"},
      {.name = "eval_batch_size",
       .field = &RunConfig::eval_batch_size,
       .unit = "sequences",
       .min = 1,
       .max = kMostCounted,
       .numerics = kChanges,
       .help = "sequences per micro-batch in evaluation"},
      {.name = "gradient_accumulation_steps",
       .field = &RunConfig::gradient_accumulation_steps,
       .unit = "micro-batches",
       .min = 1,
       .max = kMostCounted,
       .numerics = kChanges,
       .help = "micro-batches of each rank per optimizer step"},
      {.name = "max_epochs",
       .field = &RunConfig::max_epochs,
       .unit = "epochs",
       .min = 1,
       .max = kMostCounted,
       .numerics = kChanges,
       .help = "passes over the training samples, unless --max_steps is given"},
      {.name = "max_steps",
       .field = &RunConfig::max_steps,
       .unit = "steps",
       .min = 0,
       .numerics = kChanges,
       .help = "stop after this many optimizer steps; 0 = after --max_epochs"},
      {.name = "seed",
       .field = &RunConfig::seed,
       .min = 0,
       .verbs = kTrain | kData | kGenerate,
       .numerics = kChanges,
       .help = "random seed: sample order, new adapters, dropout, stochastic rounding, "
               "sampling in generate"},
      {.name = "eval_every",
       .field = &RunConfig::eval_every,
       .unit = "epochs",
       .min = 1e-6,
       .numerics = kChanges,
       .help = "training between two evaluations; may be a fraction of an epoch"},
      {.name = "early_stopping_patience",
       .field = &RunConfig::early_stopping_patience,
       .unit = "evaluations",
       .min = 0,
       .numerics = kChanges,
       .help = "stop after this many evaluations without improvement; 0 = never"},
      {.name = "early_stopping_threshold",
       .field = &RunConfig::early_stopping_threshold,
       .min = 0,
       .numerics = kChanges,
       .help = "smallest decrease of validation loss that counts as an improvement"},
  };
  for (Option& option : options) {
    if (option.name != "seed") option.except = kWithoutData;
  }
  return options;
}

std::vector<Option> record_options() {
  std::vector<Option> options = {
      {.name = "logging_steps",
       .field = &RunConfig::logging_steps,
       .unit = "steps",
       .min = 1,
       .help = "steps between two progress lines"},
      {.name = "save_steps",
       .field = &RunConfig::save_steps,
       .unit = "steps",
       .min = 0,
       .help = "steps between two checkpoints; 0 = only the best weights (without validation, "
               "the last)"},
      {.name = "save_total_limit",
       .field = &RunConfig::save_total_limit,
       .unit = "checkpoints",
       .min = 1,
       .help = "number of checkpoints to keep; the oldest are deleted"},
      {.name = "save_every_minutes",
       .field = &RunConfig::save_every_minutes,
       .unit = "minutes",
       .min = 0,
       .help = "most time between two checkpoints; 0 = --save_steps alone decides"},
      {.name = "async_save",
       .field = &RunConfig::async_save,
       .help = "write a checkpoint beside training, from a copy in host memory; false, or without "
               "room for the copy = training waits"},
      {.name = "save_only_model",
       .field = &RunConfig::save_only_model,
       .help = "checkpoints hold the model alone: smaller, but a run cannot resume from them"},
      {.name = "save_failures_allowed",
       .field = &RunConfig::save_failures_allowed,
       .min = 0,
       .max = kMostCounted,
       .help = "saves that may fail in a row (a full disk) before the run ends; training goes on "
               "meanwhile"},
      {.name = "resume",
       .field = &RunConfig::resume,
       .help = "go on from a checkpoint: auto = the newest whole one of --output_dir, without one "
               "a new run begins; or its folder"},
      {.name = "resume_anyway",
       .field = &RunConfig::resume_anyway,
       .help =
           "resume although the model, the data or the prompt are others than the checkpoint's"},
      {.name = "verify",
       .field = &RunConfig::verify,
       .verbs = kTrain | kInspect,
       .help = "read all of a checkpoint and compare hashes, of inspect or before resuming; "
               "false = sizes only"},
      {.name = "wandb_project",
       .field = &RunConfig::wandb_project,
       .help = "only recorded in run.json"},
      {.name = "wandb_run_name",
       .field = &RunConfig::wandb_run_name,
       .help = "only recorded in run.json"},
  };
  for (Option& option : options) option.except = kWithoutData;
  return options;
}

// Where memory may be taken, and what is put into it.
std::vector<Option> memory_options() {
  return {
      {.name = "device_memory",
       .field = &RunConfig::device_memory,
       .unit = "bytes",
       .min = 0,
       .must_match = MustMatch::kNothing,
       .verbs = kModelVerbs,
       .help = "device memory that may be used, as 80GiB or 512MiB; 0 = what is free"},
      {.name = "memory_report",
       .field = &RunConfig::memory_report,
       .verbs = kTrain,
       .except = kWithoutData,
       .help = "print planned and used memory by phase after the first step too, not only at "
               "the end"},
      {.name = "keep",
       .field = &RunConfig::keep,
       .help = "intermediates kept for backward instead of recomputed: auto = as many as fit; "
               "all; none"},
      {.name = "offload_activations",
       .field = &RunConfig::offload_activations,
       .help = "saved activations that are kept in host memory: auto = those that do not fit "
               "on the device; all; none"},
      {.name = "number_checkpoints",
       .field = &RunConfig::number_checkpoints,
       .unit = "checkpoints",
       .min = 0,
       .help = "number of activation checkpoints; layers between them are recomputed in "
               "backward; 0 = one per layer"},
      {.name = "offload_optimizer",
       .field = &RunConfig::offload_optimizer,
       .except = kDump,
       .help = "none = optimizer state on the device; cpu = in host memory, with the "
               "gradients, and updated on the CPU; stream = in host memory, and updated on the "
               "GPU piece by piece"},
      {.name = "offload_param",
       .field = &RunConfig::offload_param,
       .help = "none = frozen weights on the device; cpu = those of the layers in host memory "
               "(LoRA), each copied to the device while the layer before it computes"},
      {.name = "optimizer_in_backward",
       .field = &RunConfig::optimizer_in_backward,
       .except = kDump,
       .numerics = kChanges,
       .help = "update each layer as soon as backward has its gradients, and then release "
               "them; needs --gradient_accumulation_steps 1"},
      {.name = "clip_in_backward",
       .field = &RunConfig::clip_in_backward,
       .except = kDump,
       .numerics = kChanges,
       .help = "norm that --max_grad_norm limits with --optimizer_in_backward: previous = the "
               "global norm of the previous step; layer = each layer's own norm"},
      {.name = "host_memory",
       .field = &RunConfig::host_memory,
       .unit = "bytes",
       .min = 0,
       .must_match = MustMatch::kNothing,
       .help = "host memory for offloading, as 80GiB; 0 = what is available, less a tenth"},
  };
}

}  // namespace

std::vector<Option> training_options() {
  std::vector<Option> options = loop_options();
  for (const auto& part : {optimizer_options(), record_options()}) {
    options.insert(options.end(), part.begin(), part.end());
  }
  return options;
}

std::vector<Option> machine_options() {
  std::vector<Option> options = {
      {.name = "device",
       .field = &RunConfig::device,
       .verbs = kModelVerbs,
       .numerics = kChanges,
       .help = "where to compute; auto = cuda if there is a GPU, else cpu"},
      {.name = "dtype",
       .field = &RunConfig::dtype,
       .verbs = kModelVerbs,
       .numerics = kChanges,
       .help = "format of weights and activations; auto = bfloat16 on cuda, float32 on cpu"},
      {.name = "threads",
       .field = &RunConfig::threads,
       .unit = "threads",
       .min = 0,
       .max = 4096,
       .must_match = MustMatch::kNothing,
       .verbs = kModelVerbs | kData | kExport,
       .numerics = kChanges,
       .help = "CPU threads; 0 = all cores, divided among the ranks of a host"},
      {.name = "mlp_tile",
       .field = &RunConfig::mlp_tile,
       .unit = "tokens",
       .min = 0,
       .numerics = kChanges,
       .help = "tokens per tile of the MLP; 0 = chosen by the memory plan"},
      {.name = "loss_tile",
       .field = &RunConfig::loss_tile,
       .unit = "tokens",
       .min = 0,
       .numerics = kChanges,
       .help = "tokens per tile of the head and loss; 0 = chosen by the memory plan"},
      {.name = "deterministic",
       .field = &RunConfig::deterministic,
       .verbs = kModelVerbs,
       .numerics = kChanges,
       .help = "use only kernels whose results repeat bit for bit, even where they are slower"},
      {.name = "disable_flash_attn",
       .field = &RunConfig::disable_flash_attn,
       .verbs = kModelVerbs,
       .help = "accepted, without effect: the flash-attn package is not used"},
      {.name = "sequence_parallel_size",
       .field = &RunConfig::sequence_parallel_size,
       .unit = "ranks",
       .min = 1,
       .max = 4096,
       .numerics = kChanges,
       .help = "ranks that share each sequence; different groups of this size train on "
               "different sequences"},
      {.name = "sequence_parallel_type",
       .field = &RunConfig::sequence_parallel_type,
       .numerics = kChanges,
       .help = "what ranks that share a sequence exchange for attention: ulysses = heads; ring "
               "= keys and values, round a ring; hybrid = heads within groups that form a ring"},
      {.name = "ulysses_size",
       .field = &RunConfig::ulysses_size,
       .unit = "ranks",
       .min = 0,
       .max = 4096,
       .numerics = kChanges,
       .help = "with hybrid, ranks of a group that exchanges heads; 0 = as many as the key "
               "heads and the ranks of a host allow"},
      {.name = "ring_order",
       .field = &RunConfig::ring_order,
       .numerics = kChanges,
       .help = "how a ring divides the sequence: balanced = zigzag, or smaller chunks when "
               "document lengths make it uneven; zigzag = each rank gets one chunk from either "
               "half; contiguous = one chunk each"},
      {.name = "zero_stage",
       .field = &RunConfig::zero_stage,
       .min = 0,
       .max = 3,
       .numerics = kChanges,
       .help = "what is sharded over ranks (ZeRO): 0 = nothing, 1 = optimizer state, 2 = "
               "gradients too, 3 = weights too; DeepSpeed's zero_optimization.stage sets it as "
               "well"},
      {.name = "collective_timeout",
       .field = &RunConfig::collective_timeout,
       .unit = "seconds",
       .min = 1,
       .max = 1 << 20,
       .help = "end the job when a rank waits longer than this for the others; must exceed "
               "what one rank does alone, such as writing a checkpoint"},
      {.name = "deepspeed",
       .field = &RunConfig::deepspeed,
       .must_match = MustMatch::kContent,
       .numerics = kChanges,
       .help = "DeepSpeed JSON: each key is applied, reported to have no effect here, or "
               "refused"},
      {.name = "local_rank",
       .field = &RunConfig::local_rank,
       .min = -1,
       .must_match = MustMatch::kNothing,
       .verbs = kModelVerbs,
       .help = "set by launchers; need not be given"},
  };
  const std::vector<Option> memory = memory_options();
  const auto after = std::ranges::find(options, "threads", &Option::name) + 1;
  options.insert(after, memory.begin(), memory.end());
  return options;
}

}  // namespace trireme::config
