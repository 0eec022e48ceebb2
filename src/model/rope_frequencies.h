// The angles of the rotary embedding for a model's rope type, with the operations in which
// transformers computes them (5.17, modeling_rope_utils.py), so that the fp32 numbers are the same.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "config/model_spec.h"

namespace trireme::model {

// [D/2] fp32 on CPU, for a document of `length` tokens, which only some types read
// (RopeSpec::by_length).
at::Tensor inverse_frequencies(const config::ModelSpec& spec, int64_t length);

class RotaryEmbedding {
 public:
  // `spec` outlives it.
  RotaryEmbedding(const config::ModelSpec& spec, const at::Device& device);

  bool by_length() const { return spec_.rope.by_length(); }

  // Cosines and sines [S, D/2] fp32, attention factor included, of rows at `positions` [S] int64,
  // on the device. `lengths` are those of each row's document; read only if by_length(), may be
  // empty otherwise.
  std::pair<at::Tensor, at::Tensor> table(const at::Tensor& positions,
                                          const std::vector<int64_t>& lengths) const;

 private:
  at::Tensor of_rows(const std::vector<int64_t>& lengths) const;

  const config::ModelSpec& spec_;
  at::Device device_;
  at::Tensor frequencies_;  // of all documents; undefined if by_length()
};

}  // namespace trireme::model
