#include <algorithm>
#include <set>

#include "base/error.h"
#include "model/fp8.h"
#include "model/model_io.h"
#include "model/model_io_source.h"

namespace trireme::model {
namespace {

std::vector<int64_t> expected_shape(const layout::ParamInfo& info, const Source& source,
                                    int64_t experts) {
  const std::vector<int64_t> shape = info.global_shape();
  if (source.name == info.name) return shape;
  const int64_t rows = shape[0] * (source.name.ends_with("gate_up_proj") ? 2 : 1);
  return {experts, rows, shape[1]};
}

// Tensors that may lie beside the model's without being parameters. Scales of activations are for
// products in float8.
bool harmless(const config::ModelSpec& spec, const std::string& name) {
  return name.ends_with("rotary_emb.inv_freq") || (spec.tied && name == "lm_head.weight") ||
         (spec.fp8 && name.ends_with("activation_scale"));
}

// Names that tell of another kind of weights.
struct Pattern {
  const char* part;
  const char* what;
};
constexpr const char* kUnmerged =
    "of a PEFT model that was saved with its adapter unmerged: save merge_and_unload() of it, or "
    "give the base model as --model and the adapter's own folder as --adapter";
constexpr const char* kQuantised =
    "of quantised weights (GPTQ, AWQ, bitsandbytes, compressed-tensors): give the model that they "
    "were made from";
constexpr Pattern kPatterns[] = {
    {".lora_A.", kUnmerged},          {".lora_B.", kUnmerged},       {".base_layer.", kUnmerged},
    {".modules_to_save.", kUnmerged}, {".qweight", kQuantised},      {".qzeros", kQuantised},
    {".weight_packed", kQuantised},   {".quant_state.", kQuantised}, {".SCB", kQuantised}};

void refuse_patterns(const io::WeightFiles& files) {
  for (const auto& [name, located] : files.tensors()) {
    for (const auto& [part, what] : kPatterns) {
      if (name.find(part) == std::string::npos) continue;
      fail("{}: tensor {} is {}", located.file->path(), located.stored, what);
    }
  }
}

using Missing = std::vector<const layout::ParamInfo*>;

[[noreturn]] void fail_missing(const config::ModelSpec& spec, const io::WeightFiles& files,
                               const Missing& missing, size_t all) {
  const layout::ParamInfo& first = *missing.front();
  const std::string tensor = fmt::format("tensor {} {}", first.name, shape_text(first.shape));
  if (missing.size() == 1 && first.name == "lm_head.weight") {
    fail(
        "{}: {} is missing, and config.json does not tie it (tie_word_embeddings): transformers "
        "would begin with random numbers there: set tie_word_embeddings to true if the embedding "
        "is the head, otherwise save the model with its head",
        files.folder(), tensor);
  }
  if (missing.size() == all && !files.tensors().empty()) {
    fail(
        "{}: none of its {} tensors ({}, ...) is named as those of a {} model ({}, ...): "
        "config.json "
        "is of another model, or they were saved by another program",
        files.folder(), files.tensors().size(), files.tensors().begin()->second.stored,
        config::family_name(spec.family), first.name);
  }
  fail(
      "{}: {} is missing{}: config.json and the weights do not belong together, or a shard was not "
      "downloaded",
      files.folder(), tensor,
      missing.size() == 1 ? "" : fmt::format(", and {} others of {}", missing.size() - 1, all));
}

// One scale for a whole matrix may have any number of dimensions.
bool fits(const io::WeightFiles::Scales& scales, const std::vector<int64_t>& expected) {
  const bool single = std::ranges::all_of(expected, [](int64_t size) { return size == 1; });
  const std::vector<int64_t>& shape = scales.entry->shape;
  return single ? std::ranges::all_of(shape, [](int64_t size) { return size == 1; })
                : shape == expected;
}

void check_float8(const config::ModelSpec& spec, const io::WeightFiles::Located& located) {
  const std::string& path = located.file->path();
  if (!spec.fp8) {
    fail(
        "{}: tensor {} is float8 (F8_E4M3), but config.json has no quantization_config: take "
        "config.json from where the weights come from",
        path, located.stored);
  }
  std::vector<int64_t> shape = located.entry->shape;
  if (!located.scales || shape.size() < 2) {
    fail(
        "{}: tensor {} {} is float8 (F8_E4M3) without a weight_scale_inv beside it: other kinds of "
        "float8 are not read: give the model that this one was made from",
        path, located.stored, shape_text(shape));
  }
  const io::WeightFiles::Scales& scales = *located.scales;
  const std::vector<int64_t> grid =
      Fp8Scales::shape(scales.blocks, shape[shape.size() - 2], shape.back());
  std::ranges::copy(grid, shape.end() - 2);
  if (!fits(scales, shape)) {
    fail("{}: the scales of tensor {} have shape {}, weight_block_size of config.json asks for {}",
         scales.file->path(), located.stored, shape_text(scales.entry->shape), shape_text(shape));
  }
  scale_type(scales.entry->dtype, located.stored + " (its scales)");
}

void check_source(const config::ModelSpec& spec, const layout::ParamInfo& info,
                  const Source& source) {
  const io::WeightFiles::Located& located = *source.located;
  const auto expected = expected_shape(info, source, spec.moe ? spec.moe->experts : 0);
  if (located.entry->shape != expected) {
    fail("{}: tensor {} has shape {}, config.json asks for {}", located.file->path(),
         located.stored, shape_text(located.entry->shape), shape_text(expected));
  }
  check_readable(spec, located);
}

}  // namespace

void check_readable(const config::ModelSpec& spec, const io::WeightFiles::Located& located) {
  if (located.entry->dtype == io::DType::kF8E4M3) {
    check_float8(spec, located);
  } else {
    scalar_type(located.entry->dtype, located.file->path() + ": " + located.stored);
  }
}

void check_weights(const config::ModelSpec& spec, const layout::ModelLayout& layout,
                   const io::WeightFiles& files) {
  refuse_patterns(files);
  std::set<std::string> used;
  Missing missing;
  size_t all = 0;
  for (const layout::BlockLayout& block : layout.blocks) {
    for (const layout::ParamInfo& info : block.params) {
      ++all;
      const Source source = find_source(files, info);
      source.located == nullptr ? missing.push_back(&info) : check_source(spec, info, source);
      used.insert(source.name);
    }
  }
  if (!missing.empty()) fail_missing(spec, files, missing, all);
  for (const auto& [name, located] : files.tensors()) {
    if (used.contains(name) || harmless(spec, name)) continue;
    fail(
        "{}: tensor {} is not one of a {} model: refused, since leaving it out would change the "
        "model",
        located.file->path(), located.stored, config::family_name(spec.family));
  }
}

}  // namespace trireme::model
