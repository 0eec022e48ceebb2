// What a run leaves behind, in output_dir:
//
//   run.json, metrics.jsonl    the resolved options, and a line a report
//   checkpoint-N/              a Hugging Face model after step N, each published in one rename
//   best/                      the same, of the lowest validation loss; gone at the end, when its
//   files become config.json, *.safetensors, tokenizer files   the result: output_dir itself is a
//   Hugging Face folder
//
// With LoRA each of these is a PEFT folder instead: adapter_config.json, adapter_model.safetensors,
// tokenizer files.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "io/file.h"
#include "model/model_folder.h"
#include "model/model_io.h"

namespace trireme::train {

// Whether a run of this program writes files or folders of this name.
bool written_by_a_run(const std::string& name);

// Whether the path `inner` is `outer` or lies in it.
bool holds(const std::string& outer, const std::string& inner);

// Writes a PEFT folder, published in one step: `blocks` of the model's adapters, on any device.
// Tokenizer files come from the model's folder, and over them those of `tokenizer` if not "".
// `expert_adapters` as the option.
void publish_adapter(io::FileSystem& files, const std::string& folder,
                     const model::ModelFolder& model, const std::vector<at::Tensor>& blocks,
                     config::ExpertAdapters expert_adapters, const std::string& tokenizer);

// Warns if PEFT cannot read such a folder correctly.
void warn_of_peft(const model::ModelFolder& model, config::ExpertAdapters expert_adapters);

class OutputFolder {
 public:
  // Nothing is touched yet.
  OutputFolder(io::FileSystem& files, const config::RunConfig& run,
               const model::ModelFolder& model);

  // Makes the folder. UserError: not writable; not empty without --overwrite; the model's own
  // folder. With --overwrite what earlier runs left is removed, other files stay.
  void prepare();

  std::string metrics_path() const { return path_ + "/metrics.jsonl"; }
  void write_run(const config::Json& run);

  // `weights` are blocks of the model's trained_layout(). Files are in the model's own dtype,
  // adapters in fp32. A failure (UserError) leaves earlier ones untouched. save_checkpoint removes
  // the oldest beyond save_total_limit, after the new one is there; returns its path.
  std::string save_checkpoint(int64_t step, const model::BlockSource& weights);
  void save_best(const model::BlockSource& weights);

  // best/ becomes the result.
  void finish();
  const std::string& path() const { return path_; }

 private:
  void check_target() const;
  void check_not_read() const;
  std::vector<std::string> earlier_files() const;  // names of what a run leaves behind
  void publish(const std::string& folder, const model::BlockSource& weights);
  void rotate();

  io::FileSystem& files_;
  const config::RunConfig& run_;
  const model::ModelFolder& model_;
  std::string path_;
  std::vector<std::string> checkpoints_;  // of this run, oldest first
};

}  // namespace trireme::train
