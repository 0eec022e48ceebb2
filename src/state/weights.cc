#include "state/weights.h"

#include <ATen/Context.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "model/adapter_views.h"
#include "model/dora.h"
#include "model/embedding.h"

namespace trireme::state {

namespace {

// Adapters are whole on every rank.
Zero with_whole_weights(Zero zero) {
  zero.stage = std::min<int64_t>(zero.stage, 2);
  return zero;
}

}  // namespace

Weights::Weights(const layout::Model& model, const device::Machine& machine,
                 const WeightHomes& homes, const Zero& zero)
    : model_(model),
      device_(machine.device),
      base_(model.layout, machine.dtype, machine.device,
            {model.adapters ? std::nullopt : homes.master, homes.layers}, zero) {
  if (homes.layers != nullptr || zero.weights()) {
    stream_.emplace(model.layout, model.spec.tied, base_.held(), machine.device, homes.layers,
                    zero);
  }
  if (model.adapters) {
    adapters_.emplace(model.adapters->layout, machine.dtype, machine.device,
                      WeightHomes{homes.master, nullptr}, with_whole_weights(zero));
    forget_norms();
  }
}

void Weights::randomise(uint64_t seed) {
  at::manual_seed(seed);
  for (int64_t b = 0; b <= model_.layout.head(); ++b) {
    const layout::BlockLayout& block = model_.layout.blocks[b];
    const at::Tensor flat = at::zeros({block.numel}, base_.compute()[b].options().device(device_));
    flat.narrow(0, 0, block.decayed).normal_(0, 0.02);
    for (const layout::ParamInfo& info : block.params) {
      if (info.offset >= block.decayed) {
        model::param_view(flat, info).fill_(info.name.ends_with("norm.weight") ? 1.0 : 0.0);
      }
    }
    base_.fill(b, flat);
  }
}

void Weights::fill_adapters(const std::function<void(std::vector<at::Tensor>&)>& write) {
  std::vector<at::Tensor> blocks;
  for (const layout::BlockLayout& block : model_.adapters->layout.blocks) {
    blocks.push_back(at::zeros({block.numel}, at::kFloat));
  }
  write(blocks);
  for (int64_t b = 0; b < std::ssize(blocks); ++b) adapters_->fill(b, blocks[b]);
  forget_norms();
}

void Weights::forget_norms() { norms_.assign(model_.spec.layers, {}); }

void Weights::updated() {
  trained().gather();
  forget_norms();
  if (stream_ && !adapters_) stream_->forget();
}

Weights::Layer Weights::layer(int64_t index) {
  const int64_t block = model_.layout.layer(index);
  Layer layer{base(block), std::nullopt, {}};
  layer.params = model::layer_params(model_.spec, model_.layout, index, layer.base.flat());
  if (model_.adapters) {
    layer.adapters = adapters_->lease(block);
    model::attach(layer.params, model::layer_adapters(model_.spec, *model_.adapters, index,
                                                      layer.adapters->flat()));
    model::add_biases(layer.params);
    if (model_.adapters->lora.dora) {
      model::fold_magnitudes(layer.params, model_.adapters->lora.dropout > 0, norms_[index]);
    }
  }
  return layer;
}

at::Tensor Weights::embed(const at::Tensor& tokens) {
  if (model_.adapters && model_.adapters->in_block(model_.layout.embedding())) {
    const Lease lease = adapters_->lease(model_.layout.embedding());
    return model::embed(model::trained_table(*model_.adapters, lease.flat()), tokens);
  }
  const Lease lease = base(model_.layout.embedding());
  return model::embed(model::embedding_table(model_.layout, lease.flat()), tokens);
}

Weights::Head Weights::head() {
  const bool tied = model_.spec.tied;
  Head head{tied ? std::optional(base(model_.layout.embedding())) : std::nullopt,
            base(model_.layout.head()),
            std::nullopt,
            {}};
  head.params = model::head_params(model_.spec, model_.layout,
                                   tied ? head.embedding->flat() : at::Tensor(), head.head.flat());
  if (model_.adapters && model_.adapters->in_block(model_.layout.head())) {
    head.adapters = adapters_->lease(model_.layout.head());
    const model::HeadParams trained = model::trained_head(*model_.adapters, head.adapters->flat());
    if (trained.norm.defined()) head.params.norm = trained.norm;
    if (trained.head.defined()) head.params.head = trained.head;
  }
  return head;
}

}  // namespace trireme::state
