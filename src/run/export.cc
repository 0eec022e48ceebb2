// trireme export: an adapter rewritten as a PEFT folder, or merged into its model as a Hugging Face
// folder; or the model of a checkpoint alone.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "base/version.h"
#include "cli/outputs.h"
#include "io/finite.h"
#include "io/publish.h"
#include "io/temporary.h"
#include "io/tokenizer_files.h"
#include "io/weight_files.h"
#include "model/adapter_io.h"
#include "model/model_folder.h"
#include "run/prepare.h"
#include "run/verbs.h"
#include "train/output_folder.h"

namespace trireme::run {
namespace {

namespace fs = std::filesystem;

config::RunConfig parse(cli::Arguments arguments) {
  config::RunConfig run = cli::parse_options(config::kExport, arguments);
  cli::require(run.model, "model",
               "give the Hugging Face model folder that the adapter belongs to");
  cli::require(run.output_dir, "output_dir", "give a folder for the result");
  return run;
}

// The result replaces the whole folder, so the folder may hold only what trireme published.
void check_target(const config::RunConfig& run) {
  const std::string& path = run.output_dir;
  cli::check_output(run, config::kExport, "output_dir", path);
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) return;
  if (!fs::is_directory(status)) fail("--output_dir {}: exists and is not a folder", path);
  if (fs::is_empty(path, error)) return;
  if (!run.overwrite) {
    fail("--output_dir {}: not empty: choose another, or give --overwrite to replace it", path);
  }
  const std::string target = fs::weakly_canonical(path, error).string();
  if (const std::string why = io::foreign(target); !why.empty()) {
    fail("--output_dir {}: {}: choose another folder", path, why);
  }
}

io::Manifest manifest(const char* kind) {
  return {.version = version(), .commit = commit(), .kind = kind, .run = io::random_name()};
}

std::vector<at::Tensor> load_adapters(const model::ModelFolder& model) {
  std::vector<at::Tensor> blocks;
  for (const layout::BlockLayout& block : model.adapters->layout.blocks) {
    blocks.push_back(at::empty({block.numel}, at::kFloat));
  }
  model.load_adapters(0, blocks);
  return blocks;
}

void write_merged(const config::RunConfig& run, const model::ModelFolder& model,
                  const std::vector<at::Tensor>& blocks) {
  const auto tensors = io::require_finite(
      model::merged_sources(model.spec, model.layout, model.weights, *model.adapters, blocks),
      run.output_dir);
  int64_t bytes = 0;
  for (const io::TensorSource& tensor : tensors) bytes += io::byte_count(tensor);
  config::Json config = model.spec.raw;
  if (model::merging_unties(model.spec, *model.adapters)) config["tie_word_embeddings"] = false;
  io::publish_folder(
      io::posix(), run.output_dir, manifest("model"),
      [&](io::SummedFiles& files, const std::string& temporary) {
        io::write_shards(files, temporary, tensors);
        io::copy_tokenizer_files(files, model.path, run.tokenizer, temporary);
        io::write_text(files, temporary + "/config.json", config::json_text(config, 2) + "\n");
      },
      bytes);
}

// The model alone, of a checkpoint or any other folder: its files as they are.
void write_model(const config::RunConfig& run, const model::ModelFolder& model) {
  if (run.merge) fail("--merge: {} has no adapter: give --adapter, or leave it out", run.model);
  std::vector<std::string> names;
  for (const std::string& name : io::names_in(model.path)) {
    if (name.ends_with(".safetensors") || name == "config.json" ||
        name == "model.safetensors.index.json") {
      names.push_back(name);
    }
  }
  io::publish_folder(
      io::posix(), run.output_dir, manifest("model"),
      [&](io::SummedFiles& files, const std::string& temporary) {
        for (const std::string& name : names) {
          io::copy_file(files, model.path + "/" + name, temporary + "/" + name);
        }
        io::copy_tokenizer_files(files, model.path, run.tokenizer, temporary);
      },
      static_cast<uint64_t>(model.weights.total_bytes()));
  log("the model: {}", run.output_dir);
}

}  // namespace

int run_export(cli::Arguments arguments) {
  if (cli::help_shown(config::kExport, arguments)) return 0;
  const config::RunConfig run = parse(arguments);
  check_target(run);
  if (run.threads > 0) at::set_num_threads(static_cast<int>(run.threads));
  const model::ModelFolder model(run, run);
  if (!model.adapters) {
    write_model(run, model);
    return 0;
  }
  const std::vector<at::Tensor> blocks = load_adapters(model);
  if (run.merge) {
    write_merged(run, model, blocks);
    log("the model: {}", run.output_dir);
    return 0;
  }
  train::warn_of_peft(model, run.expert_adapters);
  train::publish_adapter(io::posix(), run.output_dir, manifest("adapter"), model,
                         model::held_blocks(blocks), run.expert_adapters, run.tokenizer);
  log("the adapter: {}", run.output_dir);
  return 0;
}

}  // namespace trireme::run
