#include "engine/weights.h"

#include <ATen/Context.h>
#include <ATen/ops/zeros_like.h>

#include "ops/linear.h"

namespace trireme::engine {

Weights::Weights(const Model& model, const Machine& machine, const WeightHomes& homes)
    : model_(model),
      device_(machine.device),
      base_(model.layout, machine.dtype, machine.device,
            {model.adapters ? std::nullopt : homes.master, homes.layers}) {
  if (homes.layers != nullptr) {
    stream_.emplace(model.layout, base_.compute(), machine.device, *homes.layers);
  }
  if (model.adapters) {
    adapters_.emplace(model.adapters->layout, machine.dtype, machine.device,
                      WeightHomes{homes.master, nullptr});
  }
}

void Weights::randomise(uint64_t seed) {
  at::manual_seed(seed);
  for (size_t b = 0; b < model_.layout.blocks.size(); ++b) {
    const model::BlockLayout& block = model_.layout.blocks[b];
    at::Tensor& home = base_.compute()[b];
    const bool here = home.device() == device_;
    at::Tensor flat = here ? home : at::zeros_like(home, home.options().device(device_));
    flat.narrow(0, 0, block.decayed).normal_(0, 0.02);
    for (const model::ParamInfo& info : block.params) {
      if (info.offset >= block.decayed) {
        model::param_view(flat, info).fill_(info.name.ends_with("norm.weight") ? 1.0 : 0.0);
      }
    }
    // Through memory of its own: a part of the arena may not be pinned yet, and the driver refuses
    // to copy into memory that is pinned only partly.
    if (!here) home.copy_(flat.to(home.device()));
    at::Tensor& master = base_.master()[b];
    if (!master.is_same(home)) master.copy_(flat.to(master.device()));
  }
}

Weights::Layer Weights::layer(int64_t index) {
  Layer layer{base(index + 1), std::nullopt, {}};
  layer.params = model::layer_params(model_.spec, model_.layout, index, layer.base.flat());
  if (model_.adapters) {
    layer.adapters = adapters_->lease(index + 1);
    model::attach(layer.params, model::layer_adapters(model_.spec, *model_.adapters, index,
                                                      layer.adapters->flat()));
  }
  return layer;
}

at::Tensor Weights::embed(const at::Tensor& tokens) {
  const Lease lease = base_.lease(0);
  return ops::embedding(model::param_view(lease.flat(), model_.layout.blocks[0].params[0]), tokens);
}

Weights::Head Weights::head() {
  Head head{base_.lease(0), base_.lease(model_.layout.head_block()), {}};
  head.params =
      model::head_params(model_.spec, model_.layout, head.embedding.flat(), head.head.flat());
  return head;
}

}  // namespace trireme::engine
