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
       .except = kWithoutData,
       .numerics = Numerics::kChanges,
       .help = "folder with tokenizer.json; not given = the model folder"},
      {.name = "rope_scaling",
       .json_key = "model.rope_scaling",
       .field = &RunConfig::rope_scaling,
       .object = true,
       .verbs = kTrain | kGenerate | kExport,
       .numerics = Numerics::kChanges,
       .help = "JSON object in place of rope_scaling in the model's config.json, as "
               "{\"rope_type\": \"yarn\", \"factor\": 4}; not given = as there"},
      {.name = "train_padding_row",
       .field = &RunConfig::train_padding_row,
       .numerics = Numerics::kChanges,
       .help = "train the embedding of config.json's pad_token_id where a text has that token, "
               "which transformers does not"},
      {.name = "data_file",
       .json_key = "data.train_path",
       .field = &RunConfig::data_file,
       .must_match = MustMatch::kContent,
       .verbs = kSampleVerbs,
       .except = kWithoutData,
       .numerics = Numerics::kChanges,
       .help = "reviews: DMSC.csv, a dmsc_v2 folder, or the pipeline's JSON"},
      {.name = "test_file",
       .json_key = "data.test_path",
       .field = &RunConfig::test_file,
       .except = kWithoutData,
       .help = "only recorded in run.json: training and validation use --data_file alone"},
      {.name = "output_dir",
       .field = &RunConfig::output_dir,
       .verbs = kTrain | kExport,
       .except = kWithoutData,
       .help = "folder for the result; train adds run.json and metrics.jsonl"},
      {.name = "overwrite",
       .field = &RunConfig::overwrite,
       .verbs = kTrain | kExport,
       .except = kWithoutData,
       .help = "write to --output_dir even if it is not empty"},
  };
}

std::vector<Option> sample_options() {
  std::vector<Option> options = {
      {.name = "ablation_config",
       .field = &RunConfig::ablation_config,
       .help = "parts of a sample that the prompt shows: profile_and_history_and_context, "
               "profile_and_history, profile_and_context, history_and_context, profile_only, "
               "history_only, context_only, baseline, or a name of the run config"},
      {.name = "prompt_style",
       .field = &RunConfig::prompt_style,
       .help = "layout of the prompt: simple = plain lines; detailed = also headings, dates "
               "and a section on the film"},
      {.name = "max_context_turns",
       .field = &RunConfig::max_context_turns,
       .unit = "turns",
       .min = 0,
       .help = "show at most this many dialogue turns of a sample's context, the last ones"},
      {.name = "show_ratings",
       .field = &RunConfig::show_ratings,
       .help = "show stars in the history; auto = if the data has them as a column (CSV)"},
      {.name = "max_samples_per_user",
       .field = &RunConfig::max_samples_per_user,
       .unit = "samples",
       .min = 0,
       .help = "at most this many samples per user; 0 = all"},
      {.name = "one_sample_per_user",
       .field = &RunConfig::one_sample_per_user,
       .help = "the same as --max_samples_per_user 1"},
      {.name = "sample_strategy",
       .field = &RunConfig::sample_strategy,
       .help = "samples of a user that --max_samples_per_user takes: last = the latest; random "
               "= drawn with --sample_seed"},
      {.name = "sample_seed",
       .field = &RunConfig::sample_seed,
       .min = 0,
       .help = "random seed for the choice of samples and for the split"},
      {.name = "val_ratio",
       .field = &RunConfig::val_ratio,
       .min = 0,
       .max = 0.99,
       .help = "fraction of samples held out for validation"},
      {.name = "split",
       .field = &RunConfig::split,
       .help = "what is held out for validation: time = the last samples of each user; user = "
               "all samples of some users"},
      {.name = "max_length",
       .field = &RunConfig::max_length,
       .unit = "tokens",
       .min = 1,
       .max = kManyTokens,
       .help = "most tokens of a sample and of a packed sequence; longer samples lose their "
               "oldest history"},
      {.name = "chat_template",
       .field = &RunConfig::chat_template,
       .must_match = MustMatch::kContent,
       .help = "chat template in place of the model's own: a Jinja file, a name of the "
               "tokenizer's list, chatml = the usual one of instruct models, none = plain text"},
      {.name = "enable_thinking",
       .field = &RunConfig::enable_thinking,
       .help = "leave the thinking mode of hybrid models on in the chat template"},
      {.name = "packing",
       .field = &RunConfig::packing,
       .help = "pack several samples into one sequence, masked from each other"},
  };
  for (Option& option : options) {
    option.verbs = option.name == "packing" ? kTrain : kSampleVerbs;
    option.except = kWithoutData;
    option.numerics = Numerics::kChanges;
  }
  return options;
}

std::vector<Option> lora_options() {
  std::vector<Option> options = {
      {.name = "use_lora",
       .json_key = "model.use_lora",
       .field = &RunConfig::use_lora,
       .help = "train low-rank adapters (LoRA) of the model's linears; the model's own weights "
               "are frozen"},
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
       .help = "adapters are scaled by lora_alpha / lora_r"},
      {.name = "lora_dropout",
       .json_key = "model.lora_config.lora_dropout",
       .field = &RunConfig::lora_dropout,
       .min = 0,
       .max = 0.99,
       .help = "dropout probability of the adapters' inputs in training"},
      {.name = "use_rslora",
       .json_key = "model.lora_config.use_rslora",
       .field = &RunConfig::use_rslora,
       .help = "rank-stabilised LoRA: scale by lora_alpha / sqrt(lora_r)"},
      {.name = "target_modules",
       .json_key = "model.lora_config.target_modules",
       .field = &RunConfig::target_modules,
       .list = true,
       .help = "linears that get an adapter: the ends of their names, separated by commas; "
               "all-linear = all but lm_head; or one regular expression of whole names"},
      {.name = "exclude_modules",
       .json_key = "model.lora_config.exclude_modules",
       .field = &RunConfig::exclude_modules,
       .list = true,
       .help = "linears of target_modules that get none: ends of names, or a regular expression"},
      {.name = "layers_to_transform",
       .json_key = "model.lora_config.layers_to_transform",
       .field = &RunConfig::layers_to_transform,
       .list = true,
       .help = "numbers of the layers that get adapters, separated by commas; none = all"},
      {.name = "layers_pattern",
       .json_key = "model.lora_config.layers_pattern",
       .field = &RunConfig::layers_pattern,
       .list = true,
       .help = "what PEFT calls the list of layers, with layers_to_transform: layers, in these "
               "models"},
      {.name = "rank_pattern",
       .json_key = "model.lora_config.rank_pattern",
       .field = &RunConfig::rank_pattern,
       .object = true,
       .help = "ranks of some linears, as JSON: {\"q_proj\": 4}; keys are ends of names or regular "
               "expressions of them, the first that matches counts"},
      {.name = "alpha_pattern",
       .json_key = "model.lora_config.alpha_pattern",
       .field = &RunConfig::alpha_pattern,
       .object = true,
       .help = "lora_alpha of some linears, as rank_pattern has ranks"},
      {.name = "modules_to_save",
       .json_key = "model.lora_config.modules_to_save",
       .field = &RunConfig::modules_to_save,
       .list = true,
       .help = "trained whole beside the adapters and saved with them: ends of names of "
               "embed_tokens, lm_head, norms and the router (gate)"},
      {.name = "bias",
       .json_key = "model.lora_config.bias",
       .field = &RunConfig::bias,
       .help = "biases of the model that are trained beside the adapters: all, or those of the "
               "linears with an adapter"},
      {.name = "lora_bias",
       .json_key = "model.lora_config.lora_bias",
       .field = &RunConfig::lora_bias,
       .help = "each adapter's B has a bias"},
      {.name = "use_dora",
       .json_key = "model.lora_config.use_dora",
       .field = &RunConfig::use_dora,
       .help = "DoRA: the rows of an adapted matrix have trained lengths; not for experts"},
      {.name = "adapter",
       .json_key = "model.adapter",
       .field = &RunConfig::adapter,
       .must_match = MustMatch::kContent,
       .verbs = kTrain | kGenerate | kExport,
       .help = "PEFT adapter folder: train starts from it, generate and export use it; its "
               "rank, alpha and targets apply"},
  };
  for (Option& option : options) option.numerics = Numerics::kChanges;
  options.push_back(
      {.name = "expert_adapters",
       .json_key = "model.expert_adapters",
       .field = &RunConfig::expert_adapters,
       .verbs = kTrain | kExport,
       .except = kWithoutData,
       .help = "how files name adapters of experts: modules = as in transformers 4; parameters "
               "= as in transformers 5; auto = modules if PEFT reads them correctly under "
               "both, else parameters"});
  return options;
}

std::vector<Option> generate_options() {
  std::vector<Option> options = {
      {.name = "prompt",
       .field = &RunConfig::prompt,
       .help = "text to continue, instead of a review"},
      {.name = "user", .field = &RunConfig::user, .help = "name of the user to write as"},
      {.name = "film", .field = &RunConfig::film, .help = "title of the film to write about"},
      {.name = "max_new_tokens",
       .field = &RunConfig::max_new_tokens,
       .unit = "tokens",
       .min = 1,
       .max = kManyTokens,
       .help = "most tokens to generate"},
      {.name = "temperature",
       .field = &RunConfig::temperature,
       .min = 0,
       .max = 100,
       .help = "sampling temperature; 0 = always the most likely token"},
      {.name = "top_k",
       .field = &RunConfig::top_k,
       .unit = "tokens",
       .min = 0,
       .help = "sample from this many of the most likely tokens; 0 = all"},
      {.name = "top_p",
       .field = &RunConfig::top_p,
       .min = 1e-6,
       .max = 1,
       .help = "sample from the most likely tokens that together have this probability"},
      {.name = "repetition_penalty",
       .field = &RunConfig::repetition_penalty,
       .min = 0.01,
       .max = 100,
       .help = "penalty on the logits of tokens that are in the text already; 1 = none"},
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
       .help = "random weights with the sizes of this model instead of --model: qwen3-0.6b, "
               "qwen3-1.7b, qwen3-8b, qwen3-30b-a3b, llama3-8b"},
      {.name = "layers",
       .field = &RunConfig::layers,
       .unit = "layers",
       .min = 0,
       .max = 10000,
       .verbs = kBench,
       .help = "number of layers of --shape; 0 = all"},
      {.name = "length",
       .field = &RunConfig::length,
       .unit = "tokens",
       .min = 2,
       .max = kManyTokens,
       .verbs = kBench,
       .help = "length of each random document"},
      {.name = "documents",
       .field = &RunConfig::documents,
       .unit = "documents",
       .min = 1,
       .max = kManyTokens,
       .verbs = kBench,
       .help = "documents in a batch, masked from each other"},
      {.name = "steps",
       .field = &RunConfig::steps,
       .unit = "steps",
       .min = 0,
       .verbs = kBench,
       .help = "training steps, of which the first two warm up; 0 = only read the model"},
      {.name = "profile",
       .field = &RunConfig::profile,
       .verbs = kBench,
       .help = "run one more step under the profiler: seconds by phase and kernel (CUDA)"},
      {.name = "timeline",
       .field = &RunConfig::timeline,
       .verbs = kBench,
       .help = "file for a Chrome trace of one more step on the first rank: computation, and "
               "communication beside it (chrome://tracing, ui.perfetto.dev)"},
      {.name = "bound",
       .field = &RunConfig::bound,
       .verbs = kBench,
       .help = "measure this device's rates; print the bound that follows and the fraction of "
               "it that was reached"},
  };
}

std::vector<Option> output_options() {
  return {
      {.name = "json",
       .field = &RunConfig::json,
       .verbs = kData | kInspect,
       .help = "print one line of JSON instead of text"},
      {.name = "folder",
       .field = &RunConfig::folder,
       .must_match = MustMatch::kContent,
       .verbs = kInspect,
       .help = "model, adapter or checkpoint to look at: trireme inspect DIR"},
      {.name = "decode",
       .field = &RunConfig::decode,
       .verbs = kTokenize,
       .help = "turn ids into text"},
      {.name = "add_special_tokens",
       .field = &RunConfig::add_special_tokens,
       .verbs = kTokenize | kGenerate,
       .help =
           "put before and behind a text what the tokenizer's post-processor adds (bos, eos); in "
           "generate to --prompt"},
      {.name = "skip_special_tokens",
       .field = &RunConfig::skip_special_tokens,
       .verbs = kTokenize,
       .help = "with --decode: leave special tokens out of the text; generate always does"},
      {.name = "merge",
       .field = &RunConfig::merge,
       .verbs = kExport,
       .help = "add the adapter to the model's weights and write the whole model"},
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
