// A model's weights on the device, base and adapters together, as the executor and the generator
// read them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "engine/device.h"
#include "engine/model_folder.h"
#include "engine/stores.h"
#include "model/head.h"

namespace trireme::engine {

class Weights {
 public:
  // Allocates. What is trained (the adapters, or the model where it has none) gets fp32 master
  // weights at `master`, if given; a frozen base has none. `model` outlives this.
  Weights(const Model& model, const Machine& machine, std::optional<MasterHome> master);

  // Fills the base from a checkpoint, or with random numbers: norms 1, biases 0, the rest normal
  // with deviation 0.02.
  void load(const io::Checkpoint& checkpoint) { base_.load(checkpoint); }
  void randomise(uint64_t seed);

  // What the optimizer updates and checkpoints are written from.
  ResidentParams& trained() { return adapters_ ? *adapters_ : base_; }

  // A layer's weights, adapters beside them, for as long as the lease lives.
  struct Layer {
    Lease base;
    std::optional<Lease> adapters;
    model::LayerParams params;
  };
  Layer layer(int64_t index);

  // Rows of the embedding at tokens [S] -> [S,C].
  at::Tensor embed(const at::Tensor& tokens);

  struct Head {
    Lease embedding, head;
    model::HeadParams params;
  };
  Head head();

 private:
  const Model& model_;
  ResidentParams base_;
  std::optional<ResidentParams> adapters_;
};

}  // namespace trireme::engine
