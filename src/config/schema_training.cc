// The options of training and of the machine.
#include <algorithm>

#include "config/schema_options.h"

namespace trireme::config {
namespace {

constexpr auto kChanges = Numerics::kChanges;
constexpr unsigned kModelVerbs = kTrain | kGenerate;

std::vector<Option> optimizer_options() {
  std::vector<Option> options = {
      {.name = "learning_rate",
       .field = &RunConfig::learning_rate,
       .min = 0,
       .max = 1,
       .help = "peak learning rate of AdamW"},
      {.name = "lr_scheduler_type",
       .field = &RunConfig::lr_scheduler_type,
       .help = "course of the learning rate after the warm-up"},
      {.name = "warmup_steps",
       .field = &RunConfig::warmup_steps,
       .unit = "steps",
       .min = 0,
       .help = "steps of linear warm-up"},
      {.name = "weight_decay",
       .field = &RunConfig::weight_decay,
       .min = 0,
       .max = 1,
       .help = "decoupled weight decay"},
      {.name = "adam_beta1",
       .field = &RunConfig::adam_beta1,
       .min = 0,
       .max = 0.999999,
       .help = "decay of the first moment"},
      {.name = "adam_beta2",
       .field = &RunConfig::adam_beta2,
       .min = 0,
       .max = 0.999999,
       .help = "decay of the second moment"},
      {.name = "adam_epsilon",
       .field = &RunConfig::adam_epsilon,
       .min = 1e-20,
       .max = 1,
       .help = "added to the root of the second moment"},
      {.name = "max_grad_norm",
       .field = &RunConfig::max_grad_norm,
       .min = 0,
       .help = "gradients are scaled down to this norm; 0 = never"},
      {.name = "moments_dtype",
       .field = &RunConfig::moments_dtype,
       .help = "of Adam's moments; bfloat16 is rounded stochastically, 8bit is block-wise with a "
               "dynamic code"},
      {.name = "master_weights",
       .field = &RunConfig::master_weights,
       .help = "float32 copies of bfloat16 weights that are trained; off = the weights "
               "themselves are updated, rounded stochastically"},
  };
  for (Option& option : options) option.numerics = kChanges;
  return options;
}

std::vector<Option> loop_options() {
  return {
      {.name = "batch_size",
       .field = &RunConfig::batch_size,
       .unit = "sequences",
       .min = 1,
       .numerics = kChanges,
       .help = "sequences of a micro-batch; samples with --packing off"},
      {.name = "eval_batch_size",
       .field = &RunConfig::eval_batch_size,
       .unit = "sequences",
       .min = 1,
       .numerics = kChanges,
       .help = "the same in evaluation"},
      {.name = "gradient_accumulation_steps",
       .field = &RunConfig::gradient_accumulation_steps,
       .unit = "micro-batches",
       .min = 1,
       .numerics = kChanges,
       .help = "micro-batches of a step"},
      {.name = "max_epochs",
       .field = &RunConfig::max_epochs,
       .unit = "epochs",
       .min = 1,
       .numerics = kChanges,
       .help = "passes over the training samples"},
      {.name = "max_steps",
       .field = &RunConfig::max_steps,
       .unit = "steps",
       .min = 0,
       .numerics = kChanges,
       .help = "stop after this many steps; 0 = by epochs"},
      {.name = "seed",
       .field = &RunConfig::seed,
       .min = 0,
       .verbs = kTrain | kData | kGenerate,
       .numerics = kChanges,
       .help = "seed of the order of the samples, and of the choice of tokens in generate"},
      {.name = "eval_every",
       .field = &RunConfig::eval_every,
       .unit = "epochs",
       .min = 1e-6,
       .numerics = kChanges,
       .help = "training between two evaluations"},
      {.name = "early_stopping_patience",
       .field = &RunConfig::early_stopping_patience,
       .unit = "evaluations",
       .min = 0,
       .numerics = kChanges,
       .help = "stop after so many evaluations without improvement; 0 = never"},
      {.name = "early_stopping_threshold",
       .field = &RunConfig::early_stopping_threshold,
       .min = 0,
       .numerics = kChanges,
       .help = "fall of the validation loss that counts as improvement"},
  };
}

std::vector<Option> record_options() {
  return {
      {.name = "logging_steps",
       .field = &RunConfig::logging_steps,
       .unit = "steps",
       .min = 1,
       .help = "steps between two lines of progress"},
      {.name = "save_steps",
       .field = &RunConfig::save_steps,
       .unit = "steps",
       .min = 0,
       .help = "steps between two checkpoints; 0 = only the best and the last"},
      {.name = "save_total_limit",
       .field = &RunConfig::save_total_limit,
       .unit = "checkpoints",
       .min = 1,
       .help = "checkpoints that are kept"},
      {.name = "wandb_project", .field = &RunConfig::wandb_project, .help = "recorded in run.json"},
      {.name = "wandb_run_name",
       .field = &RunConfig::wandb_run_name,
       .help = "recorded in run.json"},
  };
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
       .help = "memory that may be used, as 80GiB or 512MiB; 0 = what the device has free"},
      {.name = "memory_report",
       .field = &RunConfig::memory_report,
       .verbs = kTrain,
       .help = "print memory as planned and as it was, by phase, after the first step too"},
      {.name = "keep",
       .field = &RunConfig::keep,
       .help = "intermediates kept for the backward pass, rather than computed again; auto = what "
               "fits"},
      {.name = "offload_activations",
       .field = &RunConfig::offload_activations,
       .help = "what is saved for the backward pass goes to the host: auto = what does not fit on "
               "the device"},
      {.name = "number_checkpoints",
       .field = &RunConfig::number_checkpoints,
       .unit = "layers",
       .min = 0,
       .help =
           "layers, evenly spaced, whose inputs are kept; those between are run again; 0 = all"},
      {.name = "offload_optimizer",
       .field = &RunConfig::offload_optimizer,
       .help =
           "master weights and moments in host memory: cpu = and AdamW there, on gradients that "
           "are there too, or beside backward with optimizer_in_backward; stream = they pass "
           "through the device piece by piece"},
      {.name = "offload_param",
       .field = &RunConfig::offload_param,
       .help = "cpu = the layers' frozen weights in host memory (LoRA); each comes to the device "
               "while the layer before it computes"},
      {.name = "optimizer_in_backward",
       .field = &RunConfig::optimizer_in_backward,
       .numerics = kChanges,
       .help = "update each layer as soon as backward has its gradients, which are then forgotten; "
               "one micro-batch a step"},
      {.name = "clip_in_backward",
       .field = &RunConfig::clip_in_backward,
       .numerics = kChanges,
       .help =
           "with --optimizer_in_backward, max_grad_norm is for: previous = the norm of the step "
           "before; layer = each layer's own"},
      {.name = "host_memory",
       .field = &RunConfig::host_memory,
       .unit = "bytes",
       .min = 0,
       .must_match = MustMatch::kNothing,
       .help = "host memory for offload, as 80GiB; 0 = what is available, less a tenth"},
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
       .help = "auto = cuda where there is a GPU"},
      {.name = "dtype",
       .field = &RunConfig::dtype,
       .verbs = kModelVerbs,
       .numerics = kChanges,
       .help = "of weights and activations; auto = bfloat16 on cuda, float32 on cpu"},
      {.name = "threads",
       .field = &RunConfig::threads,
       .unit = "threads",
       .min = 0,
       .max = 4096,
       .must_match = MustMatch::kNothing,
       .verbs = kModelVerbs | kExport,
       .numerics = kChanges,
       .help = "0 = all cores"},
      {.name = "mlp_tile",
       .field = &RunConfig::mlp_tile,
       .unit = "tokens",
       .min = 0,
       .numerics = kChanges,
       .help = "rows of an MLP tile; 0 = chosen"},
      {.name = "loss_tile",
       .field = &RunConfig::loss_tile,
       .unit = "tokens",
       .min = 0,
       .numerics = kChanges,
       .help = "rows of a tile of the head and loss; 0 = chosen"},
      {.name = "deterministic",
       .field = &RunConfig::deterministic,
       .verbs = kModelVerbs,
       .numerics = kChanges,
       .help = "only kernels that repeat bit for bit, where that costs"},
      {.name = "disable_flash_attn",
       .field = &RunConfig::disable_flash_attn,
       .verbs = kModelVerbs,
       .help = "accepted without effect: no flash-attn package is used"},
      {.name = "sequence_parallel_size",
       .field = &RunConfig::sequence_parallel_size,
       .unit = "ranks",
       .min = 1,
       .max = 4096,
       .numerics = kChanges,
       .help = "ranks that share each sequence; the others train on sequences of their own"},
      {.name = "sequence_parallel_type",
       .field = &RunConfig::sequence_parallel_type,
       .numerics = kChanges,
       .help =
           "what they exchange for attention: heads, keys and values round a ring, or heads within "
           "groups that form a ring"},
      {.name = "ulysses_size",
       .field = &RunConfig::ulysses_size,
       .unit = "ranks",
       .min = 0,
       .max = 4096,
       .numerics = kChanges,
       .help =
           "ranks of a hybrid's group that exchanges heads; 0 = as many as the key heads and the "
           "machine allow"},
      {.name = "ring_order",
       .field = &RunConfig::ring_order,
       .numerics = kChanges,
       .help = "rows of a ring's rank: zigzag, or finer where documents make that uneven; always "
               "zigzag; or one run"},
      {.name = "zero_stage",
       .field = &RunConfig::zero_stage,
       .min = 0,
       .max = 3,
       .numerics = kChanges,
       .help =
           "what ranks hold a shard of instead of all of it (ZeRO): 1 = optimizer state, 2 = also "
           "gradients, 3 = also weights; a DeepSpeed file says it with zero_optimization.stage"},
      {.name = "collective_timeout",
       .field = &RunConfig::collective_timeout,
       .unit = "seconds",
       .min = 1,
       .max = 1 << 20,
       .help = "a rank that waits for others longer ends the job; more than what one does alone "
               "takes, such as writing a checkpoint"},
      {.name = "deepspeed",
       .field = &RunConfig::deepspeed,
       .must_match = MustMatch::kContent,
       .numerics = kChanges,
       .help = "DeepSpeed JSON: each key is done, or said to have no effect here, or refused"},
      {.name = "local_rank",
       .field = &RunConfig::local_rank,
       .min = -1,
       .must_match = MustMatch::kNothing,
       .verbs = kModelVerbs,
       .help = "set by launchers"},
  };
  const std::vector<Option> memory = memory_options();
  const auto after = std::ranges::find(options, "threads", &Option::name) + 1;
  options.insert(after, memory.begin(), memory.end());
  return options;
}

}  // namespace trireme::config
