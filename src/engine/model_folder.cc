#include "engine/model_folder.h"

#include "base/error.h"
#include "model/model_io.h"

namespace trireme::engine {

ModelFolder::ModelFolder(const std::string& folder)
    : path(folder), checkpoint(folder) {
  spec = config::read_model_spec(folder);
  layout = model::make_layout(spec);
  model::check_checkpoint(spec, layout, checkpoint);
}

void check_vocabulary(const ModelFolder& model, int64_t tokenizer_size,
                      const std::string& tokenizer_folder) {
  if (tokenizer_size <= model.spec.vocab) return;
  fail(
      "{}/tokenizer.json has ids up to {}, but the model of {} has vocab_size {}: they do not "
      "belong together",
      tokenizer_folder, tokenizer_size - 1, model.path, model.spec.vocab);
}

}  // namespace trireme::engine
