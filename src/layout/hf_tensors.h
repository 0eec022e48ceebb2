// The tensors of a decoder under their Hugging Face names, in the order that fused matrices want.
// llama, qwen2, qwen3 and qwen3_moe differ in biases, q/k norm and experts (all in ModelSpec), not
// in names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/model_spec.h"

namespace trireme::layout {

struct NamedShape {
  std::string name;
  std::vector<int64_t> shape;
  bool decays = true;           // matrices do, norms and biases do not
  bool joins_previous = false;  // follows the tensor before it without a gap: one GEMM reads both
};

NamedShape embedding_tensor(const config::ModelSpec& spec);
std::vector<NamedShape> layer_tensors(const config::ModelSpec& spec, int64_t layer);
std::vector<NamedShape> head_tensors(const config::ModelSpec& spec);

}  // namespace trireme::layout
