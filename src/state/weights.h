// A model's weights on the device, base and adapters together, as the executor and the generator
// read them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "device/machine.h"
#include "layout/model.h"
#include "model/head.h"
#include "state/param_stream.h"
#include "state/params.h"

namespace trireme::state {

class Weights {
 public:
  // Allocates the weights. The trained ones (the adapters, or the model without adapters) get
  // master weights; a frozen base has none. Adapters are small: every rank has them whole, even
  // with ZeRO-3. `model` and the mesh of `zero` outlive this.
  Weights(const layout::Model& model, const device::Machine& machine, const WeightHomes& homes,
          const Zero& zero = {});

  // Fills the base from files, or with random numbers: norms 1, biases 0, the rest normal with
  // deviation 0.02.
  void load(const io::WeightFiles& files) { base_.load(files); }
  void randomise(uint64_t seed);
  // Fills the adapters; `write` fills blocks of their layout.
  void fill_adapters(const std::function<void(std::vector<at::Tensor>&)>& write);

  // What the optimizer updates and checkpoints are written from.
  ResidentParams& trained() { return adapters_ ? *adapters_ : base_; }
  // Call after the optimizer has updated them.
  void updated();

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
    std::optional<Lease> embedding;  // tied
    Lease head;
    std::optional<Lease> adapters;  // with what is trained beside them
    model::HeadParams params;
  };
  Head head();

 private:
  void forget_norms();
  Lease base(int64_t block) { return stream_ ? stream_->lease(block) : base_.lease(block); }

  const layout::Model& model_;
  at::Device device_;
  ResidentParams base_;
  std::optional<ParamStream> stream_;  // where the base is not all on the device
  std::optional<ResidentParams> adapters_;
  std::vector<std::vector<at::Tensor>> norms_;  // of DoRA by layer, until the weights change
};

}  // namespace trireme::state
