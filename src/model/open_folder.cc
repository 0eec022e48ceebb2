#include "model/open_folder.h"

#include <algorithm>

#include "base/log.h"
#include "layout/hf_tensors.h"
#include "model/model_io.h"

namespace trireme::model {
namespace {

constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kHead = "lm_head.weight";

// Some rows of a matrix [rows, columns] of the files, as a rank would have them.
at::Tensor read_rows(const io::WeightFiles& files, const std::string& name,
                     const std::vector<int64_t>& shape, int64_t first, int64_t count) {
  const layout::Slice slice = {.dim = 0, .first = first, .whole = shape[0]};
  return read_param(files, {name, {count, shape[1]}, 0, count * shape[1], slice});
}

// Whether two matrices of this shape have the same numbers. A few rows are held at a time: a copy
// of the embedding of a large model has gigabytes.
bool same_numbers(const io::WeightFiles& files, const std::string& a, const std::string& b,
                  const std::vector<int64_t>& shape) {
  constexpr int64_t kElements = 4 << 20;
  const int64_t step = std::max<int64_t>(1, kElements / shape[1]);
  for (int64_t first = 0; first < shape[0]; first += step) {
    const int64_t count = std::min(step, shape[0] - first);
    const at::Tensor of_a = read_rows(files, a, shape, first, count);
    const at::Tensor of_b = read_rows(files, b, shape, first, count);
    const at::ScalarType type = c10::promoteTypes(of_a.scalar_type(), of_b.scalar_type());
    if (!of_a.to(type).equal(of_b.to(type))) return false;
  }
  return true;
}

void settle_names(io::WeightFiles& weights) {
  const auto* renamed = weights.use_standard_names();
  if (renamed == nullptr) return;
  for (const auto& [name, located] : weights.tensors()) {
    if (&located != renamed) continue;
    log("{}: its tensors are named as {}: read as {}", weights.folder(), located.stored, name);
  }
}

void settle_float8(const config::ModelSpec& spec, io::WeightFiles& weights) {
  if (!spec.fp8) return;
  const int64_t count = weights.join_scales(*spec.fp8);
  const auto& [rows, columns] = *spec.fp8;
  log("{}: {} of {} tensors are float8 with a scale{}: read as bfloat16, as float32 on the CPU; "
      "what is written is {}, without quantization_config",
      weights.folder(), count, weights.tensors().size(),
      rows == 0 ? " each" : fmt::format(" for each block of {} x {}", rows, columns), spec.dtype);
}

void settle_head(config::ModelSpec& spec, io::WeightFiles& weights) {
  if (!spec.tied) return;
  const auto* embedding = weights.find(kEmbedding);
  const auto* head = weights.find(kHead);
  if (head == nullptr) return;
  if (embedding == nullptr) {
    weights.rename(kHead, kEmbedding);
    log("{} has only {}: it is the embedding too, since config.json ties them", weights.folder(),
        kHead);
    return;
  }
  check_readable(spec, *embedding);
  check_readable(spec, *head);
  const std::vector<int64_t> shape = layout::embedding_tensor(spec).shape;
  const bool readable = embedding->entry->shape == shape && head->entry->shape == shape;
  if (readable && same_numbers(weights, kEmbedding, kHead, shape)) return;
  spec.tied = false;
  spec.raw["tie_word_embeddings"] = false;
  log("{}: config.json has tie_word_embeddings true, but {} and {} differ: the head is kept, as "
      "transformers 5 does, and what is written has false",
      weights.folder(), kHead, kEmbedding);
}

}  // namespace

OpenFolder open_folder(const std::string& folder, const std::string& rope_scaling) {
  OpenFolder opened = {config::read_model_spec(folder, rope_scaling), io::WeightFiles(folder)};
  settle_names(opened.weights);
  settle_float8(opened.spec, opened.weights);
  settle_head(opened.spec, opened.weights);
  return opened;
}

}  // namespace trireme::model
