// The options of files, samples, and of the verbs other than train.
#include "config/schema_options.h"

namespace trireme::config {
namespace {

constexpr unsigned kSampleVerbs = kTrain | kData | kGenerate;
constexpr double kManyTokens = 1 << 30;

}  // namespace

std::vector<Option> file_options() {
  return {
      {.name = "config",
       .field = &RunConfig::config,
       .must_match = MustMatch::kNothing,
       .verbs = kSampleVerbs,
       .help = "run config: JSON with the sections model, data, training and ablation_configs"},
      {.name = "model",
       .json_key = "model.path",
       .field = &RunConfig::model,
       .must_match = MustMatch::kContent,
       .verbs = kSampleVerbs | kTokenize | kExport,
       .numerics = Numerics::kChanges,
       .help = "Hugging Face model folder"},
      {.name = "tokenizer",
       .json_key = "model.tokenizer",
       .field = &RunConfig::tokenizer,
       .must_match = MustMatch::kContent,
       .verbs = kSampleVerbs | kTokenize | kExport,
       .numerics = Numerics::kChanges,
       .help = "folder with tokenizer.json; none = the model folder"},
      {.name = "data_file",
       .json_key = "data.train_path",
       .field = &RunConfig::data_file,
       .must_match = MustMatch::kContent,
       .verbs = kSampleVerbs,
       .numerics = Numerics::kChanges,
       .help = "reviews: DMSC.csv, a dmsc_v2 folder, or the pipeline's JSON"},
      {.name = "test_file",
       .json_key = "data.test_path",
       .field = &RunConfig::test_file,
       .help = "recorded in run.json; train and validation use data_file alone"},
      {.name = "output_dir",
       .field = &RunConfig::output_dir,
       .verbs = kTrain | kExport,
       .help = "folder for the result; train adds run.json and metrics.jsonl"},
      {.name = "overwrite",
       .field = &RunConfig::overwrite,
       .verbs = kTrain | kExport,
       .help = "write to an output_dir that is not empty"},
  };
}

std::vector<Option> sample_options() {
  std::vector<Option> options = {
      {.name = "ablation_config",
       .field = &RunConfig::ablation_config,
       .help = "parts of a sample that the prompt shows: profile_and_history_and_context, "
               "profile_and_history, profile_and_context, history_and_context, profile_only, "
               "history_only, context_only, baseline, or a name of the run config"},
      {.name = "prompt_style", .field = &RunConfig::prompt_style, .help = "wording of the prompt"},
      {.name = "max_context_turns",
       .field = &RunConfig::max_context_turns,
       .unit = "turns",
       .min = 0,
       .help = "dialogue turns of a sample's context that are shown, the last ones"},
      {.name = "show_ratings",
       .field = &RunConfig::show_ratings,
       .help = "stars in the history; auto = where the data has them as a column (CSV)"},
      {.name = "max_samples_per_user",
       .field = &RunConfig::max_samples_per_user,
       .unit = "samples",
       .min = 0,
       .help = "most samples of one user; 0 = all"},
      {.name = "one_sample_per_user",
       .field = &RunConfig::one_sample_per_user,
       .help = "the same as --max_samples_per_user 1"},
      {.name = "sample_strategy",
       .field = &RunConfig::sample_strategy,
       .help = "which samples of a user --max_samples_per_user takes"},
      {.name = "sample_seed",
       .field = &RunConfig::sample_seed,
       .min = 0,
       .help = "seed of the choice of samples and of the split"},
      {.name = "val_ratio",
       .field = &RunConfig::val_ratio,
       .min = 0,
       .max = 0.99,
       .help = "share of the samples that validate"},
      {.name = "split",
       .field = &RunConfig::split,
       .help = "validate on the last samples of each user, or on whole users"},
      {.name = "max_length",
       .field = &RunConfig::max_length,
       .unit = "tokens",
       .min = 1,
       .max = kManyTokens,
       .help = "limit of one sample and of a packed sequence; longer samples lose their oldest "
               "history"},
      {.name = "enable_thinking",
       .field = &RunConfig::enable_thinking,
       .help = "leave the thinking of hybrid models on in the chat template"},
      {.name = "packing",
       .field = &RunConfig::packing,
       .help = "fill sequences with several samples, masked from each other"},
  };
  for (Option& option : options) {
    option.verbs = kSampleVerbs;
    option.numerics = Numerics::kChanges;
  }
  return options;
}

std::vector<Option> lora_options() {
  std::vector<Option> options = {
      {.name = "use_lora",
       .json_key = "model.use_lora",
       .field = &RunConfig::use_lora,
       .help = "train low-rank adapters beside the model's linears, which stay as they are"},
      {.name = "lora_r",
       .json_key = "model.lora_config.r",
       .field = &RunConfig::lora_r,
       .min = 1,
       .max = 65536,
       .help = "rank of the adapters"},
      {.name = "lora_alpha",
       .json_key = "model.lora_config.lora_alpha",
       .field = &RunConfig::lora_alpha,
       .min = 0,
       .help = "adapters are added times lora_alpha / lora_r"},
      {.name = "lora_dropout",
       .json_key = "model.lora_config.lora_dropout",
       .field = &RunConfig::lora_dropout,
       .min = 0,
       .max = 0.99,
       .help = "share of an adapter's inputs that are dropped in training"},
      {.name = "use_rslora",
       .json_key = "model.lora_config.use_rslora",
       .field = &RunConfig::use_rslora,
       .help = "times lora_alpha / sqrt(lora_r) instead"},
      {.name = "target_modules",
       .json_key = "model.lora_config.target_modules",
       .field = &RunConfig::target_modules,
       .list = true,
       .help = "linears that get an adapter, by the ends of their names, with commas between; "
               "all-linear = all but lm_head"},
      {.name = "adapter",
       .json_key = "model.adapter",
       .field = &RunConfig::adapter,
       .must_match = MustMatch::kContent,
       .verbs = kTrain | kGenerate | kExport,
       .help = "PEFT adapter folder: what training starts from, or what is added to the model; its "
               "rank, alpha and targets count"},
  };
  for (Option& option : options) option.numerics = Numerics::kChanges;
  options.push_back(
      {.name = "expert_adapters",
       .json_key = "model.expert_adapters",
       .field = &RunConfig::expert_adapters,
       .verbs = kTrain | kExport,
       .help = "files name adapters of experts as transformers 4 does (modules) or 5 (parameters); "
               "auto = modules where PEFT reads them rightly under both, else parameters"});
  return options;
}

std::vector<Option> generate_options() {
  std::vector<Option> options = {
      {.name = "prompt",
       .field = &RunConfig::prompt,
       .help = "text to continue, in place of a review"},
      {.name = "user", .field = &RunConfig::user, .help = "name of the user to write as"},
      {.name = "film", .field = &RunConfig::film, .help = "title of the film to write about"},
      {.name = "max_new_tokens",
       .field = &RunConfig::max_new_tokens,
       .unit = "tokens",
       .min = 1,
       .max = kManyTokens,
       .help = "longest text that is written"},
      {.name = "temperature",
       .field = &RunConfig::temperature,
       .min = 0,
       .max = 100,
       .help = "spread of the choice; 0 = the likeliest token each time"},
      {.name = "top_k",
       .field = &RunConfig::top_k,
       .unit = "tokens",
       .min = 0,
       .help = "choose among this many of the likeliest; 0 = all"},
      {.name = "top_p",
       .field = &RunConfig::top_p,
       .min = 1e-6,
       .max = 1,
       .help = "choose among the likeliest with this much probability together"},
      {.name = "repetition_penalty",
       .field = &RunConfig::repetition_penalty,
       .min = 0.01,
       .max = 100,
       .help = "divisor of the logits of tokens already written; 1 = none"},
  };
  for (Option& option : options) {
    option.verbs = kGenerate;
    option.numerics = Numerics::kChanges;
  }
  return options;
}

std::vector<Option> bench_options() {
  return {
      {.name = "shape",
       .field = &RunConfig::shape,
       .verbs = kBench,
       .help = "random weights of these sizes in place of --model: qwen3-0.6b, qwen3-1.7b, "
               "qwen3-8b, qwen3-30b-a3b, llama3-8b"},
      {.name = "layers",
       .field = &RunConfig::layers,
       .unit = "layers",
       .min = 0,
       .max = 10000,
       .verbs = kBench,
       .help = "of the shape; 0 = all"},
      {.name = "length",
       .field = &RunConfig::length,
       .unit = "tokens",
       .min = 2,
       .max = kManyTokens,
       .verbs = kBench,
       .help = "of each random document"},
      {.name = "documents",
       .field = &RunConfig::documents,
       .unit = "documents",
       .min = 1,
       .max = kManyTokens,
       .verbs = kBench,
       .help = "side by side in one batch, masked from each other"},
      {.name = "steps",
       .field = &RunConfig::steps,
       .unit = "steps",
       .min = 0,
       .verbs = kBench,
       .help = "training steps, the first two to warm up; 0 = only read the model"},
      {.name = "profile",
       .field = &RunConfig::profile,
       .verbs = kBench,
       .help = "run one more step under the profiler: seconds by phase and kernel (CUDA)"},
      {.name = "timeline",
       .field = &RunConfig::timeline,
       .verbs = kBench,
       .help =
           "file for a Chrome trace of one more step, of the first rank: what is computed, what "
           "is exchanged meanwhile (chrome://tracing, ui.perfetto.dev)"},
      {.name = "bound",
       .field = &RunConfig::bound,
       .verbs = kBench,
       .help = "measure this device's rates, and print the bound and the share that was reached"},
  };
}

std::vector<Option> output_options() {
  return {
      {.name = "json",
       .field = &RunConfig::json,
       .verbs = kData,
       .help = "print one line of JSON instead of text"},
      {.name = "decode",
       .field = &RunConfig::decode,
       .verbs = kTokenize,
       .help = "from ids to text"},
      {.name = "merge",
       .field = &RunConfig::merge,
       .verbs = kExport,
       .help = "write a whole model, the adapter added to its weights"},
      {.name = "batch",
       .field = &RunConfig::batch,
       .must_match = MustMatch::kContent,
       .verbs = kDump,
       .help = "JSON file {\"documents\": [[ids]], \"labels\": [[ids or -100]]}"},
      {.name = "out",
       .field = &RunConfig::out,
       .verbs = kDump,
       .help = "safetensors file to write"},
      {.name = "logits",
       .field = &RunConfig::logits,
       .verbs = kDump,
       .help = "write the logits, [tokens, vocabulary]"},
      {.name = "grads",
       .field = &RunConfig::grads,
       .verbs = kDump,
       .help = "write every parameter's gradient"},
  };
}

}  // namespace trireme::config
