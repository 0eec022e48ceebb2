// What a run leaves behind, in output_dir:
//
//   run.json, metrics.jsonl    the resolved options, and a line a report
//   checkpoint-N/              a Hugging Face model after step N, each published in one rename
//   best/                      the same, of the lowest validation loss; gone at the end, when its
//   files become config.json, *.safetensors, tokenizer files   the result: output_dir itself is a
//   Hugging Face folder
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "engine/model_folder.h"
#include "io/file.h"

namespace trireme::engine {

class OutputFolder {
 public:
  // Nothing is touched yet.
  OutputFolder(io::FileSystem& files, const config::RunConfig& run, const ModelFolder& model);

  // Makes the folder. UserError: not writable; not empty without --overwrite; the model's own
  // folder. With --overwrite what earlier runs left is removed, other files stay.
  void prepare();

  std::string metrics_path() const { return path_ + "/metrics.jsonl"; }
  void write_run(const config::Json& run);

  // `weights`: fp32 blocks of the model's layout, on any device. A failure (UserError) leaves
  // earlier ones untouched. save_checkpoint removes the oldest beyond save_total_limit, after the
  // new one is there; returns its path.
  std::string save_checkpoint(int64_t step, const std::vector<at::Tensor>& weights);
  void save_best(const std::vector<at::Tensor>& weights);

  // best/ becomes the result.
  void finish();
  const std::string& path() const { return path_; }

 private:
  void check_target() const;
  void check_not_read() const;
  std::vector<std::string> earlier_files() const;  // names of what a run leaves behind
  void publish(const std::string& folder, const std::vector<at::Tensor>& weights);
  void rotate();

  io::FileSystem& files_;
  const config::RunConfig& run_;
  const ModelFolder& model_;
  std::string path_;
  std::vector<std::string> checkpoints_;  // of this run, oldest first
};

}  // namespace trireme::engine
