// What a run leaves behind, in output_dir:
//
//   run.json, metrics.jsonl    the resolved options, and a line a report
//   checkpoint-N/              a Hugging Face model after step N, each published in one rename
//   best/                      the same, of the lowest validation loss; gone at the end, when its
//   files become config.json, *.safetensors, tokenizer files   the result: output_dir itself is a
//   Hugging Face folder
//
// With LoRA each of these is a PEFT folder instead: adapter_config.json, adapter_model.safetensors,
// tokenizer files. Each of these folders, and the result, has a manifest (io/manifest.h), by which
// another run knows it; run.json begins with the same mark.
//
// At every instant each of these folders that has a configuration is complete, and what an earlier
// run left stays until this run's result is complete.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "io/lock.h"
#include "io/manifest.h"
#include "model/model_folder.h"
#include "model/model_io.h"

namespace trireme::train {

// Writes a PEFT folder, published in one step: `blocks` of the model's adapters, on any device.
// Tokenizer files come from the model's folder, and over them those of `tokenizer` if not "".
// `expert_adapters` as the option. `chat_template`: a text in place of theirs, if not "".
void publish_adapter(io::FileSystem& files, const std::string& folder, const io::Manifest& manifest,
                     const model::ModelFolder& model, const std::vector<at::Tensor>& blocks,
                     config::ExpertAdapters expert_adapters, const std::string& tokenizer,
                     const std::string& chat_template = "");

// Warns if PEFT cannot read such a folder correctly.
void warn_of_peft(const model::ModelFolder& model, config::ExpertAdapters expert_adapters);

// One process at a time has it.
class OutputFolder {
 public:
  // Nothing is touched yet. `manifest` says who writes.
  OutputFolder(io::FileSystem& files, const config::RunConfig& run, const model::ModelFolder& model,
               io::Manifest manifest);

  // Makes the folder, takes its lock, and removes what killed runs left under temporary names.
  // UserError, and nothing touched: not writable; another run is in it; not empty without
  // --overwrite; with it, anything in the place of what a run writes that no run of trireme wrote.
  // Logs what earlier runs left, which finish() will remove.
  void prepare();

  std::string metrics_path() const { return path_ + "/metrics.jsonl"; }
  // Replaces run.json and metrics.jsonl: call it once the weights have been read.
  void begin(const config::Json& run);

  // `weights` are blocks of the model's trained_layout(). Files are in the model's own dtype,
  // adapters in fp32. A failure (UserError) leaves earlier ones untouched. save_checkpoint removes
  // this run's oldest beyond save_total_limit, after the new one is there; returns its path.
  std::string save_checkpoint(int64_t step, const model::BlockSource& weights);
  void save_best(const model::BlockSource& weights);

  // best/ becomes the result; then what earlier runs left goes. Other files stay.
  void finish();
  const std::string& path() const { return path_; }

 private:
  struct Earlier {
    std::vector<std::string> folders;    // checkpoint-N and best of earlier runs
    std::optional<io::Manifest> result;  // of output_dir itself
    bool empty = true;                   // but for the lock and leftovers
  };

  Earlier look() const;
  void publish(const std::string& folder, const model::BlockSource& weights);
  void rotate();
  void remove(const std::string& folder);
  void place_result(const std::string& best, const io::Manifest& manifest);

  io::FileSystem& files_;
  const config::RunConfig& run_;
  const model::ModelFolder& model_;
  io::Manifest manifest_;
  std::string path_;
  std::optional<io::FolderLock> lock_;
  std::vector<std::string> earlier_;      // folders of earlier runs
  std::vector<std::string> checkpoints_;  // of this run, oldest first
};

}  // namespace trireme::train
