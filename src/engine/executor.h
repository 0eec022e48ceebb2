// Walks the layers forward and backward. It decides nothing: which intermediates are kept and how
// large a tile is come from the ExecutionPlan.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "config/model_spec.h"
#include "data/packing.h"
#include "engine/stores.h"
#include "model/decoder_layer.h"

namespace trireme::engine {

struct ExecutionPlan {
  std::vector<model::Keep> keep;  // per layer
  model::Tiles tiles;
};

// Sums, never means. `sum` is a 0-dim fp32 tensor on the device: reading it synchronises.
struct LossSum {
  at::Tensor sum;
  int64_t tokens = 0;
};

class Executor {
 public:
  Executor(const config::ModelSpec& spec, const model::ModelLayout& layout, ParamStore& params,
           const at::Device& device, ExecutionPlan plan);

  // Forward only. `logits`, when not null, receives fp32 [T,V]: for comparisons, not for long
  // sequences.
  LossSum forward(const data::PackedBatch& batch, at::Tensor* logits = nullptr);

  // Forward and backward of loss_sum * grad_scale; gradients are added to `grads`.
  LossSum forward_backward(const data::PackedBatch& batch, double grad_scale, GradStore& grads,
                           at::Tensor* logits = nullptr);

 private:
  struct Step;
  LossSum run(const data::PackedBatch& batch, double grad_scale, GradStore* grads,
              at::Tensor* logits);

  const config::ModelSpec& spec_;
  const model::ModelLayout& layout_;
  ParamStore& params_;
  at::Device device_;
  ExecutionPlan plan_;
  std::vector<model::DecoderLayer> layers_;
};

}  // namespace trireme::engine
