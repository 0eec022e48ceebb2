// What a model is, and which part of it is trained: sizes, tensors in blocks, adapters. It holds
// descriptions only, no tensors.
#pragma once

#include <optional>

#include "config/model_spec.h"
#include "layout/adapters.h"
#include "layout/parameters.h"

namespace trireme::layout {

struct Model {
  explicit Model(config::ModelSpec sizes) : spec(std::move(sizes)), layout(make_layout(spec)) {}

  config::ModelSpec spec;
  ModelLayout layout;
  std::optional<Adapters> adapters;  // LoRA: only these are trained

  // The layout of what is trained, and written in the end.
  const ModelLayout& trained_layout() const { return adapters ? adapters->layout : layout; }
};

}  // namespace trireme::layout
