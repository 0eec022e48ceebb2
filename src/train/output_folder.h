// What a run leaves behind, in output_dir:
//
//   run.json, metrics.jsonl    the resolved options, and a line a report
//   checkpoint-N/              a Hugging Face model after step N, each published in one rename;
//                              what resuming takes is beside it (train/checkpoint.h)
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
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "io/lock.h"
#include "io/manifest.h"
#include "io/summed_files.h"
#include "model/model_folder.h"
#include "model/model_io.h"

namespace trireme::train {

// What is written into a folder beside the model, before it, and about how many bytes.
struct Addition {
  std::function<void(io::SummedFiles&, const std::string& folder)> write;
  uint64_t bytes = 0;
};

// Writes a PEFT folder, published in one step. `weights`: blocks of the model's adapters, asked
// for once the addition has been written. Tokenizer files come from the model's folder, and over
// them those of `tokenizer` if not "". `expert_adapters` as the option. `chat_template`: a text in
// place of theirs, if not "".
void publish_adapter(io::FileSystem& files, const std::string& folder, const io::Manifest& manifest,
                     const model::ModelFolder& model, const model::BlockSource& weights,
                     config::ExpertAdapters expert_adapters, const std::string& tokenizer,
                     const std::string& chat_template = "", const Addition& addition = {});

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

  // The run that run.json names: what it left here.
  struct LastRun {
    std::string name;                      // "": there is none
    bool finished = false;                 // its result is in its place, whole
    bool placing = false;                  // it was killed while it put the result there
    bool best = false;                     // best/ is its
    std::vector<std::string> checkpoints;  // newest first
  };
  LastRun last_run() const;
  // From now on this is that run, which goes on: its checkpoints and its best count as this one's.
  void go_on(const std::string& name);
  // Gives a damaged checkpoint of this run another name, which it returns: nothing of it is lost,
  // and its number is free.
  std::string set_aside(const std::string& folder);
  std::string lock_text() const;                // "" where this process sees no lock
  bool holds(const std::string& folder) const;  // as a checkpoint of its own

  std::string metrics_path() const { return path_ + "/metrics.jsonl"; }
  uint64_t metrics_bytes() const;  // 0: there are none
  // Replaces run.json, and metrics.jsonl by its own first `metrics` bytes, as far as it has them:
  // call it once the weights have been read.
  void begin(const config::Json& run, uint64_t metrics = 0);

  // `weights` are blocks of the model's trained_layout(). Files are in the model's own dtype,
  // adapters in fp32. A failure (UserError) leaves earlier ones untouched. save_checkpoint removes
  // this run's oldest beyond save_total_limit, after the new one is there. Both return the path.
  std::string save_checkpoint(int64_t step, const model::BlockSource& weights,
                              const Addition& addition = {});
  std::string save_best(const model::BlockSource& weights, const Addition& addition = {});

  // best/ becomes the result; then what earlier runs left goes. Other files stay.
  void finish();
  const std::string& path() const { return path_; }
  const io::Manifest& manifest() const { return manifest_; }  // who writes

 private:
  struct Earlier {
    std::vector<std::string> folders;    // checkpoint-N and best of earlier runs
    std::optional<io::Manifest> result;  // of output_dir itself
    bool empty = true;                   // but for the lock and leftovers
  };

  Earlier look() const;
  bool goes_on_here() const;
  void publish(const std::string& folder, const model::BlockSource& weights,
               const Addition& addition);
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
