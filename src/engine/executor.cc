#include "engine/executor.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>

#include "base/log.h"
#include "engine/grad_stream.h"
#include "engine/rank_batch.h"
#include "model/head.h"
#include "model/rope_frequencies.h"
#include "ops/linear.h"
#include "ops/rope.h"
#include "ops/to_device.h"

namespace trireme::engine {
namespace {

// The batch with its only document padded to its bucket. Padding stands behind every real token and
// has no loss: causal attention never looks at it, and it adds exact zeros to every gradient.
data::PackedBatch padded(data::PackedBatch batch, const at::Device& device) {
  if (!device.is_cuda() || batch.document_starts.size() != 2) return batch;
  const int64_t length = bucket(std::ssize(batch.tokens));
  batch.tokens.resize(length, 0);
  batch.targets.resize(length, data::kIgnored);
  batch.document_starts.back() = length;
  return batch;
}

at::Tensor embedding_table(const Model& model, const at::Tensor& flat) {
  return model::param_view(flat, model.layout.blocks[0].params[0]);
}

}  // namespace

int64_t bucket(int64_t tokens) {
  const auto size = static_cast<uint64_t>(std::max<int64_t>(tokens, 1));
  const auto step = static_cast<int64_t>(std::max<uint64_t>(64, std::bit_floor(size) / 16));
  return (tokens + step - 1) / step * step;
}

std::vector<bool> overwritten_blocks(const Model& model) {
  std::vector<bool> blocks(model.trained_layout().blocks.size());
  if (model.adapters) return blocks;  // small: zeroed
  for (int64_t i = 0; i < model.spec.layers; ++i) blocks[i + 1] = !model.spec.sparse(i);
  blocks[model.spec.tied ? 0 : model.layout.head_block()] = true;
  return blocks;
}

std::unique_ptr<GradStore> make_grads(const Model& model, const at::Device& device,
                                      const Zero& zero) {
  const model::ModelLayout& layout = model.trained_layout();
  std::vector<bool> overwritten = overwritten_blocks(model);
  if (!zero.gradients()) {
    return std::make_unique<ResidentGrads>(layout, device, std::move(overwritten), zero);
  }
  return std::make_unique<ShardedGrads>(layout, model.spec.tied, device, std::move(overwritten),
                                        zero);
}

// This rank's part of one batch, and what every layer is told of it.
struct Executor::Step : RankBatch {
  model::LayerContext context;

  Step(const Executor& owner, const data::PackedBatch& batch, model::Lora lora)
      : RankBatch(rank_batch(batch, owner.mesh_, owner.plan_.ring_order, owner.device_,
                             1.0 / std::sqrt(owner.model_.spec.head_dim))) {
    auto [cos, sin] = ops::rope_table(positions, owner.frequencies_);
    lora.rows = &rows;
    context = {attention.get(), cos, sin, {owner.plan_.tiles, lora}};
  }
  Step(const Step&) = delete;  // the context has pointers into it
  Step& operator=(const Step&) = delete;
};

Executor::Executor(const Model& model, Weights& weights, const at::Device& device,
                   ExecutionPlan plan, HostArena& arena, Phases& phases, const dist::Mesh& mesh)
    : model_(model),
      weights_(weights),
      device_(device),
      plan_(std::move(plan)),
      phases_(phases),
      mesh_(mesh),
      frequencies_(model::inverse_frequencies(model.spec).to(device)),
      store_(plan_.places, device, arena, make_transfer(device, arena)) {
  arena.wait_until_pinned();
  for (int64_t i = 0; i < model.spec.layers; ++i) layers_.emplace_back(model.spec, i);
}

void Executor::tell_uneven(const Step& step) {
  if (step.uneven.empty() || told_uneven_) return;
  told_uneven_ = true;
  log("ranks of the ring have unlike shares of attention: {}", step.uneven);
}

model::Lora Executor::lora(double dropout, uint64_t seed) const {
  return {.scale = model_.adapters ? model_.adapters->lora.scale() : 1,
          .dropout = dropout,
          .seed = seed};
}

// Each rank has rows of its own of the whole; others' are zeros, and add nothing.
at::Tensor Executor::real_logits(const data::PackedBatch& batch, const Step& step,
                                 const at::Tensor& x, const model::HeadParams& head) const {
  const int64_t tokens = std::ssize(batch.tokens);
  const layout::Rows rows = layout::before(step.rows, tokens);
  const at::Tensor mine = model::head_logits(model_.spec, x.narrow(0, 0, layout::size(rows)), head);
  const dist::Group& group = mesh_.group(config::Span::kSequence);
  if (group.size() == 1) return mine;
  const at::Tensor all = at::zeros({tokens, mine.size(1)}, mine.options());
  int64_t at = 0;
  for (const layout::Range& range : rows) {
    all.narrow(0, range.first, range.size()).copy_(mine.narrow(0, at, range.size()));
    at += range.size();
  }
  group.all_reduce(all)->wait();
  return all;
}

at::Tensor Executor::whole(at::Tensor loss) const {
  mesh_.group(config::Span::kSequence).all_reduce(loss)->wait();
  return loss;
}

model::LayerParams Executor::layer_grads(const Step& step, GradStore& grads, int64_t layer) const {
  const at::Tensor flat = grads.accumulator(layer + 1);
  model::LayerParams params;
  if (!model_.adapters) {
    params = model::layer_params(model_.spec, model_.layout, layer, flat);
    if (grads.take_fresh(layer + 1)) {
      // Without rows there are no products that would overwrite it.
      step.tokens.numel() == 0 ? static_cast<void>(flat.zero_()) : model::mark_fresh(params);
    }
    return params;
  }
  model::attach(params, model::layer_adapters(model_.spec, *model_.adapters, layer, flat));
  return params;
}

at::Tensor Executor::forward_layers(const Step& step, bool save) {
  const auto scope = phases_.enter("forward");
  if (save) store_.begin();
  at::Tensor x = weights_.embed(step.tokens);
  for (int64_t i = 0; i < model_.spec.layers; ++i) {
    phases_.at_layer(i);
    const Weights::Layer layer = weights_.layer(i);
    // What a layer that is run again would keep now is kept then.
    const model::Keep keep = i < plan_.segments.back() ? model::Keep{} : plan_.keep[i];
    model::SavedLayer saved;
    x = layers_[i].forward(x, layer.params, step.context, keep, save ? &saved : nullptr);
    if (save) store_.put(i, std::move(saved));
  }
  return x;
}

void Executor::run_again(const Step& step, int64_t first, int64_t end) {
  at::Tensor x;
  for (int64_t i = first; i < end; ++i) {
    model::SavedLayer saved = store_.get(i);
    if (i + 1 < end) store_.prefetch(i + 1);
    if (i == first) x = saved.x;
    phases_.at_layer(i);
    const Weights::Layer layer = weights_.layer(i);
    x = layers_[i].forward(x, layer.params, step.context, plan_.keep[i], &saved);
    store_.hold(i, std::move(saved));
  }
}

void Executor::backward_layers(const Step& step, at::Tensor dx, GradStore& grads) {
  const auto scope = phases_.enter("backward");
  int64_t end = model_.spec.layers;
  for (auto segment = plan_.segments.rbegin(); segment != plan_.segments.rend(); ++segment) {
    const int64_t first = *segment;
    if (end < model_.spec.layers) run_again(step, first, end);
    const auto before = std::next(segment);
    const int64_t then = before == plan_.segments.rend() ? -1 : *before;
    for (int64_t i = end - 1; i >= first; --i) {
      phases_.at_layer(i);
      const Weights::Layer layer = weights_.layer(i);
      model::LayerParams to = layer_grads(step, grads, i);
      model::SavedLayer saved = store_.get(i);
      store_.prefetch(i > first ? i - 1 : then);
      dx = layers_[i].backward(std::move(dx), layer.params, to, step.context, std::move(saved));
      grads.finish(i + 1);
    }
    end = first;
  }
  if (model_.adapters) return;
  at::Tensor table = embedding_table(model_, grads.accumulator(0));
  ops::accumulate_embedding_grad(table, dx, step.tokens);
  grads.finish(0);
}

LossSum Executor::forward(const data::PackedBatch& batch, at::Tensor* logits) {
  const Step step(*this, padded(batch, device_), lora(/*dropout=*/0, 0));
  const at::Tensor x = forward_layers(step, /*save=*/false);
  const Weights::Head head = weights_.head();
  if (logits != nullptr) *logits = real_logits(batch, step, x, head.params);
  return {whole(model::head_loss(model_.spec, x, head.params, step.targets, plan_.tiles.loss)),
          batch.trained_tokens};
}

LossSum Executor::forward_backward(const data::PackedBatch& batch, double grad_scale,
                                   GradStore& grads, uint64_t seed, at::Tensor* logits) {
  const Step step(*this, padded(batch, device_),
                  lora(model_.adapters ? model_.adapters->lora.dropout : 0, seed));
  tell_uneven(step);
  at::Tensor x = forward_layers(step, /*save=*/true);
  model::HeadBackward result;
  {
    const auto scope = phases_.enter("head and loss");
    const Weights::Head head = weights_.head();
    if (logits != nullptr) *logits = real_logits(batch, step, x, head.params);
    model::HeadParams head_grads;  // undefined: frozen
    if (!model_.adapters) {
      const int64_t head_block = model_.layout.head_block();
      const at::Tensor flat = grads.accumulator(head_block);
      const at::Tensor table = model_.spec.tied ? grads.accumulator(0) : at::Tensor();
      head_grads = model::head_params(model_.spec, model_.layout, table, flat);
      head_grads.fresh = grads.take_fresh(model_.spec.tied ? 0 : head_block);
    }
    result = model::head_loss_backward(model_.spec, x, head.params, head_grads, step.targets,
                                       grad_scale, plan_.tiles.loss);
    x.reset();
    if (!model_.adapters) grads.finish(model_.layout.head_block());
  }
  backward_layers(step, std::move(result.dx), grads);
  return {whole(result.loss), batch.trained_tokens};
}

}  // namespace trireme::engine
