// trireme export: an adapter rewritten as a PEFT folder, or merged into its model as a Hugging Face
// folder.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "cli/prepare.h"
#include "cli/verbs.h"
#include "engine/model_folder.h"
#include "engine/output_folder.h"
#include "model/adapter_io.h"

namespace trireme::cli {
namespace {

namespace fs = std::filesystem;

config::RunConfig parse(Arguments arguments) {
  config::RunConfig run = config::parse_command_line(config::kExport, arguments);
  require(run.model, "model", "give the Hugging Face model folder that the adapter belongs to");
  require(run.adapter, "adapter", "give a PEFT adapter folder");
  require(run.output_dir, "output_dir", "give a folder for the result");
  return run;
}

// The result takes the place of the whole folder: nothing else may be in it, and nothing that is
// read.
void check_target(const config::RunConfig& run) {
  const std::string& path = run.output_dir;
  for (const auto& [what, source] :
       {std::pair("model", run.model), {"adapter", run.adapter}, {"tokenizer", run.tokenizer}}) {
    if (!source.empty() && engine::holds(path, source)) {
      fail("--output_dir {}: is or holds the folder of the {} that is read, {}: choose another",
           path, what, source);
    }
  }
  std::error_code error;
  if (!fs::exists(path, error)) return;
  if (!fs::is_directory(path, error)) fail("--output_dir {}: exists and is not a folder", path);
  for (const auto& entry : fs::directory_iterator(path)) {
    const std::string name = entry.path().filename();
    if (!run.overwrite) {
      fail("--output_dir {}: not empty: choose another, or give --overwrite to replace it", path);
    }
    if (!engine::written_by_a_run(name) || entry.is_directory()) {
      fail("--output_dir {}: holds {}, which no export wrote: choose another folder", path, name);
    }
  }
}

std::vector<at::Tensor> load_adapters(const engine::ModelFolder& model) {
  std::vector<at::Tensor> blocks;
  for (const model::BlockLayout& block : model.adapters->layout.blocks) {
    blocks.push_back(at::empty({block.numel}, at::kFloat));
  }
  model.load_adapters(0, blocks);
  return blocks;
}

void write_merged(const config::RunConfig& run, const engine::ModelFolder& model,
                  const std::vector<at::Tensor>& blocks) {
  io::FileSystem& files = io::posix();
  io::publish_folder(
      files, run.output_dir,
      [&](const std::string& temporary) {
        io::write_shards(
            files, temporary,
            model::merged_sources(model.layout, model.checkpoint, *model.adapters, blocks));
        io::copy_tokenizer_files(files, model.path, temporary);
        if (!run.tokenizer.empty()) io::copy_tokenizer_files(files, run.tokenizer, temporary);
        io::write_text(files, temporary + "/config.json", model.spec.raw.dump(2) + "\n");
      },
      model.checkpoint.total_bytes());
}

}  // namespace

int run_export(Arguments arguments) {
  if (help_shown(config::kExport, arguments)) return 0;
  const config::RunConfig run = parse(arguments);
  check_target(run);
  if (run.threads > 0) at::set_num_threads(static_cast<int>(run.threads));
  const engine::ModelFolder model(run);
  const std::vector<at::Tensor> blocks = load_adapters(model);
  if (run.merge) {
    write_merged(run, model, blocks);
    log("the model: {}", run.output_dir);
    return 0;
  }
  engine::warn_of_peft(model, run.expert_adapters);
  engine::publish_adapter(io::posix(), run.output_dir, model, blocks, run.expert_adapters,
                          run.tokenizer);
  log("the adapter: {}", run.output_dir);
  return 0;
}

}  // namespace trireme::cli
