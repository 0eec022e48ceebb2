// A Hugging Face model folder, opened: config.json read, the tensors' names and shapes checked,
// nothing loaded yet. With LoRA, also which adapters there are.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/model_spec.h"
#include "config/run_config.h"
#include "io/weight_files.h"
#include "layout/model.h"
#include "model/adapter_io.h"
#include "model/open_folder.h"

namespace trireme::model {

struct ModelFolder : layout::Model {
  // UserError for all that is wrong with the folder. `rope_scaling` as read_model_spec()'s.
  explicit ModelFolder(const std::string& path, const std::string& rope_scaling = "");
  // The folder of --model with the adapters of --adapter or of an adapter_config.json in the same
  // folder, or new ones with --use_lora. An adapter's
  // rank, alpha and targets are its own; its dropout is that of the run, where LoRA is on in it.
  ModelFolder(const config::FileOptions& files, const config::LoraOptions& options);
  ModelFolder(const ModelFolder&) = delete;  // others keep references to its parts
  ModelFolder& operator=(const ModelFolder&) = delete;

  std::string path;
  io::WeightFiles weights;
  std::unique_ptr<AdapterFolder> adapter;  // what the adapters are read from

  // Fills blocks of adapters->layout, on any device: from the adapter's folder, or with PEFT's
  // initial values.
  void load_adapters(uint64_t seed, std::vector<at::Tensor>& blocks) const;

 private:
  ModelFolder(const std::string& path, OpenFolder folder);
  void attach_adapter(const std::string& folder, const std::optional<config::LoraSpec>& lora);
  void copy_whole(std::vector<at::Tensor>& blocks) const;
  void copy_norms(const layout::ParamInfo& magnitude, at::Tensor to) const;
};

// Checks that every id of the tokenizer has a row in the embedding. UserError otherwise.
void check_vocabulary(const ModelFolder& model, int64_t tokenizer_size,
                      const std::string& tokenizer_folder);

}  // namespace trireme::model
