#include "model/model_folder.h"

#include <ATen/ops/linalg_vector_norm.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "model/adapter_views.h"
#include "model/model_io.h"
#include "model/params.h"

namespace trireme::model {

ModelFolder::ModelFolder(const std::string& path, const std::string& rope_scaling)
    : ModelFolder(path, open_folder(path, rope_scaling)) {}

ModelFolder::ModelFolder(const std::string& path, OpenFolder folder)
    : layout::Model(std::move(folder.spec)), path(path), weights(std::move(folder.weights)) {
  for (const std::string& line : spec.notes) log("{}", line);
  check_weights(spec, layout, weights);
}

ModelFolder::ModelFolder(const config::FileOptions& files, const config::LoraOptions& options)
    : ModelFolder(files.model, files.rope_scaling) {
  if (files.train_padding_row) spec.padding_row.reset();
  const std::optional<config::LoraSpec> lora = config::lora_of(options);
  std::string from = options.adapter;
  std::error_code error;
  if (from.empty() && std::filesystem::exists(path + "/adapter_config.json", error)) {
    from = path;
    log("{}/adapter_config.json: an adapter beside the model: it is attached, as transformers does",
        path);
  }
  if (!from.empty()) {
    attach_adapter(from, lora);
  } else if (lora) {
    adapters = layout::make_adapters(spec, *lora);
  }
  if (adapters && !files.rope_scaling.empty()) {
    log("--rope_scaling: an adapter's folder does not say it: its model has to be loaded with it");
  }
}

void ModelFolder::attach_adapter(const std::string& folder,
                                 const std::optional<config::LoraSpec>& lora) {
  adapter = std::make_unique<AdapterFolder>(folder, spec, &weights);
  adapters = adapter->adapters();
  if (lora) adapters->lora.dropout = lora->dropout;
  const config::LoraSpec& own = adapters->lora;
  const size_t count = own.target_modules.size();  // thousands where only some layers have one
  log("adapter {}: r {}, alpha {:g}, dropout {:g}, {}{}", folder, own.rank, own.alpha, own.dropout,
      count > 8 ? fmt::format("{} linears", count)
                : fmt::format("{}", fmt::join(own.target_modules, ", ")),
      own.modules_to_save.empty()
          ? ""
          : fmt::format("; trained whole: {}", fmt::join(own.modules_to_save, ", ")));
}

// What is trained whole begins as the base has it.
void ModelFolder::copy_whole(std::vector<at::Tensor>& blocks) const {
  for (size_t b = 0; b < blocks.size(); ++b) {
    for (const layout::ParamInfo& info : adapters->layout.blocks[b].params) {
      if (info.name.ends_with(".lora_magnitude_vector")) {
        copy_norms(info, param_view(blocks[b], info));
      }
      if (info.name.find(".lora_") != std::string::npos) continue;
      layout::ParamInfo base = info;
      if (spec.tied && info.name == "lm_head.weight") base.name = "model.embed_tokens.weight";
      param_view(blocks[b], info).copy_(read_param(weights, base));
    }
  }
}

// B is zero: V is W.
void ModelFolder::copy_norms(const layout::ParamInfo& magnitude, at::Tensor to) const {
  const std::string weight = layout::module_of(magnitude.name) + ".weight";
  for (const layout::BlockLayout& block : layout.blocks) {
    const auto found = std::ranges::find(block.params, weight, &layout::ParamInfo::name);
    if (found == block.params.end()) continue;
    to.copy_(at::linalg_vector_norm(read_param(weights, *found).to(at::kFloat), 2, 1));
  }
}

void ModelFolder::load_adapters(uint64_t seed, std::vector<at::Tensor>& blocks) const {
  TRIREME_CHECK(adapters.has_value());
  if (adapter != nullptr) {
    adapter->load(blocks);
  } else {
    initialise_adapters(*adapters, seed, blocks);
    copy_whole(blocks);
  }
}

void check_vocabulary(const ModelFolder& model, int64_t tokenizer_size,
                      const std::string& tokenizer_folder) {
  if (tokenizer_size <= model.spec.vocab) return;
  fail(
      "{}/tokenizer.json has ids up to {}, but the model of {} has vocab_size {}: take the model's "
      "own tokenizer, or give its embedding more rows (resize_token_embeddings in transformers)",
      tokenizer_folder, tokenizer_size - 1, model.path, model.spec.vocab);
}

}  // namespace trireme::model
