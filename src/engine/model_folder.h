// A Hugging Face model folder, opened: config.json read, the tensors' names and shapes checked,
// nothing loaded yet.
#pragma once

#include <optional>
#include <string>

#include "config/model_spec.h"
#include "io/hf_folder.h"
#include "model/adapters.h"
#include "model/layout.h"

namespace trireme::engine {

// What a model is, and what of it is trained.
struct Model {
  config::ModelSpec spec;
  model::ModelLayout layout;
  std::optional<model::Adapters> adapters;  // LoRA: only these are trained

  const model::ModelLayout& trained_layout() const { return adapters ? adapters->layout : layout; }
};

struct ModelFolder : Model {
  // UserError for all that is wrong with the folder.
  explicit ModelFolder(const std::string& path);
  ModelFolder(const ModelFolder&) = delete;  // others keep references to its parts
  ModelFolder& operator=(const ModelFolder&) = delete;

  std::string path;
  io::Checkpoint checkpoint;
};

// Every id of the tokenizer has a row in the embedding. UserError otherwise.
void check_vocabulary(const ModelFolder& model, int64_t tokenizer_size,
                      const std::string& tokenizer_folder);

}  // namespace trireme::engine
