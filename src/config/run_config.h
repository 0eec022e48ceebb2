// Every option of every verb, as plain values in groups: a function takes the group that it reads.
// The initialisers are the defaults; the schema (config/schema.h) lists each option once with its
// flag, JSON key, unit, range and help, and the command line, the run config, --help and run.json
// all come from that list.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/number_format.h"
#include "config/choices.h"

namespace trireme::config {

// One of the user's ablations: which parts of a sample the prompt shows.
struct Ablation {
  std::string name;
  bool use_profile = true;
  bool use_history = true;
  bool use_context = true;
};

struct FileOptions {
  std::string config;              // the run config JSON itself
  std::string model;               // model folder               (JSON: model.path)
  std::string tokenizer;           // tokenizer folder; "" = the model folder
  std::string rope_scaling;        // JSON in place of config.json's; "" = as there
  bool train_padding_row = false;  // the embedding of pad_token_id
  std::string data_file;           // CSV, CSV folder or JSON    (JSON: data.train_path)
  std::string test_file;           // optional                   (JSON: data.test_path)
  std::string output_dir;
  bool overwrite = false;
  std::string deepspeed;  // DeepSpeed JSON
};

struct SampleOptions {
  std::string ablation_config = "profile_and_history";
  Ablation ablation;  // resolved from ablation_configs or the eight built-in names
  PromptStyle prompt_style = PromptStyle::kSimple;
  int64_t max_context_turns = 15;
  ShowRatings show_ratings = ShowRatings::kAuto;  // stars in the history
  int64_t max_samples_per_user = 0;               // 0 = all
  bool one_sample_per_user = false;
  SampleStrategy sample_strategy = SampleStrategy::kLast;
  int64_t sample_seed = 42;
  double val_ratio = 0.1;
  SplitBy split = SplitBy::kTime;
  int64_t max_length = 2048;  // tokens of a packed sequence, and the limit of one sample
  std::string chat_template;  // a file or a name; "" = the tokenizer folder's own
  bool enable_thinking = false;
  bool packing = true;
};

struct TrainingOptions {
  int64_t batch_size = 1;  // packed sequences (or samples, with packing off) a micro-batch
  int64_t eval_batch_size = 1;
  int64_t gradient_accumulation_steps = 1;
  int64_t max_epochs = 50;
  int64_t max_steps = 0;  // 0 = by epochs
  double learning_rate = 1e-5;
  LrScheduler lr_scheduler_type = LrScheduler::kCosine;
  int64_t warmup_steps = 0;
  Warmup warmup_type = Warmup::kLinear;
  double weight_decay = 0.0;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double adam_epsilon = 1e-8;
  double max_grad_norm = 1.0;  // 0 = no clipping
  MomentFormat moments_dtype = MomentFormat::kFloat32;
  bool master_weights = true;  // fp32 copies of bf16 weights that are trained
  int64_t seed = 42;
  double eval_every = 0.5;              // epochs between evaluations
  int64_t early_stopping_patience = 3;  // evaluations; 0 = off
  double early_stopping_threshold = 0.001;
  int64_t logging_steps = 10;
  int64_t save_steps = 0;  // 0 = only best and last
  int64_t save_total_limit = 3;
  double save_every_minutes = 0;      // 0 = by steps alone
  bool async_save = true;             // written beside training, where there is room for a copy
  bool save_only_model = false;       // checkpoints without what resuming takes
  int64_t save_failures_allowed = 3;  // in a row, before they end the run
  std::string resume;                 // "" = begin, auto, or a checkpoint folder
  bool resume_anyway = false;         // of another model, data or prompt
  bool verify = true;                 // hashes of the checkpoint that is resumed
  std::string wandb_project;          // recorded in run.json and metrics.jsonl
  std::string wandb_run_name;
};

// JSON: model.use_lora, model.lora_config.r, ...; see config/lora_spec.h.
struct LoraOptions {
  bool use_lora = false;
  int64_t lora_r = 8;
  double lora_alpha = 8;
  double lora_dropout = 0.0;
  bool use_rslora = false;
  std::string target_modules = "q_proj,v_proj";  // comma separated, all-linear, or a pattern
  std::string exclude_modules;                   // comma separated, or a pattern
  std::string rank_pattern, alpha_pattern;       // JSON: {"q_proj": 4}
  std::string layers_to_transform;               // comma separated numbers
  std::string layers_pattern;                    // comma separated
  std::string modules_to_save;                   // comma separated
  LoraBias bias = LoraBias::kNone;
  bool lora_bias = false;
  bool use_dora = false;
  std::string adapter;  // PEFT folder to start from, or to use
  ExpertAdapters expert_adapters = ExpertAdapters::kAuto;
};

struct DeviceOptions {
  DeviceChoice device = DeviceChoice::kAuto;
  DtypeChoice dtype = DtypeChoice::kAuto;  // auto: bfloat16 on CUDA, float32 on CPU
  int64_t threads = 0;                     // 0 = all cores
  bool deterministic = false;
  bool disable_flash_attn = false;
};

struct MemoryOptions {
  int64_t device_memory = 0;  // bytes; 0 = what the device has free
  int64_t host_memory = 0;    // bytes for offload; 0 = what is available, less a tenth
  bool memory_report = false;
  Keeping keep = Keeping::kAuto;
  ActivationOffload offload_activations = ActivationOffload::kAuto;
  int64_t number_checkpoints = 0;  // activation checkpoints; 0 = every layer's input
  OptimizerOffload offload_optimizer = OptimizerOffload::kNone;
  ParamOffload offload_param = ParamOffload::kNone;  // frozen weights of the layers
  bool optimizer_in_backward = false;  // a layer's gradients are consumed as soon as known
  ClipInBackward clip_in_backward = ClipInBackward::kPrevious;
  int64_t mlp_tile = 0;   // rows of an MLP tile; 0 = chosen
  int64_t loss_tile = 0;  // rows of a head+loss tile; 0 = chosen
};

struct RankOptions {
  int64_t sequence_parallel_size = 1;  // ranks that share each sequence
  SequenceParallelType sequence_parallel_type = SequenceParallelType::kUlysses;
  int64_t ulysses_size = 0;  // of a hybrid; 0 = chosen
  RingOrder ring_order = RingOrder::kBalanced;
  int64_t zero_stage = 1;
  int64_t collective_timeout = 600;  // seconds that a rank waits for the others
  int64_t local_rank = -1;
};

// The output options of data and tokenize.
struct TextOptions {
  bool json = false;    // data, inspect: for machines
  bool decode = false;  // tokenize: ids -> text
  bool add_special_tokens = true;
  bool skip_special_tokens = false;  // with decode
};

struct InspectOptions {
  std::string folder;
};

struct GenerateOptions {
  std::string prompt;
  std::string user;
  std::string film;
  int64_t max_new_tokens = 256;
  double temperature = 0.7;  // 0 = greedy
  int64_t top_k = 0;
  double top_p = 1.0;
  double repetition_penalty = 1.0;
};

struct DumpOptions {
  std::string batch;  // JSON of documents and labels
  std::string out;    // safetensors
  bool logits = false;
  bool grads = false;
};

struct ExportOptions {
  bool merge = false;
};

struct BenchOptions {
  std::string shape;      // a known model's sizes in place of a folder
  int64_t layers = 0;     // of the shape; 0 = all
  int64_t length = 512;   // tokens of a document
  int64_t documents = 1;  // documents side by side
  int64_t steps = 10;     // training steps; 0 = only read the model
  bool profile = false;   // kernels of one more step
  std::string timeline;   // file for the trace of one more step
  bool bound = false;     // rates of this device and the bound that follows
};

struct RunConfig : FileOptions,
                   SampleOptions,
                   TrainingOptions,
                   LoraOptions,
                   DeviceOptions,
                   MemoryOptions,
                   RankOptions,
                   TextOptions,
                   InspectOptions,
                   GenerateOptions,
                   DumpOptions,
                   ExportOptions,
                   BenchOptions {
  // Where an option was given, by its name: "--seed", or "c.json:3:5: training.seed"; the last of
  // several. Options that are not here have their defaults. set_option writes it.
  std::map<std::string, std::string> given;
  // What became of names that are other programs', a line each (config/names.h).
  std::vector<std::string> remarks;
};

}  // namespace trireme::config
