#include "engine/executor.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/log.h"
#include "engine/rank_batch.h"
#include "model/adapter_views.h"
#include "model/embedding.h"
#include "model/head.h"
#include "ops/to_device.h"
#include "state/grad_stream.h"

namespace trireme::engine {
namespace {

// The batch with its only document padded to its bucket. Padding stands behind every real token and
// has no loss: causal attention never looks at it, and it adds exact zeros to every gradient.
data::PackedBatch padded(data::PackedBatch batch, const at::Device& device) {
  if (!device.is_cuda() || batch.document_starts.size() != 2) return batch;
  const int64_t length = plan::bucket(std::ssize(batch.tokens));
  batch.tokens.resize(length, 0);
  batch.targets.resize(length, data::kIgnored);
  batch.document_starts.back() = length;
  return batch;
}

}  // namespace

std::vector<bool> overwritten_blocks(const layout::Model& model) {
  std::vector<bool> blocks(model.trained_layout().blocks.size());
  if (model.adapters) return blocks;  // small: zeroed
  for (int64_t i = 0; i < model.spec.layers; ++i)
    blocks[model.layout.layer(i)] = !model.spec.sparse(i);
  blocks[model.spec.tied ? model.layout.embedding() : model.layout.head()] = true;
  return blocks;
}

std::unique_ptr<state::GradStore> make_grads(const layout::Model& model, const at::Device& device,
                                             const state::Zero& zero) {
  const layout::ModelLayout& layout = model.trained_layout();
  std::vector<bool> overwritten = overwritten_blocks(model);
  if (!zero.gradients()) {
    return std::make_unique<state::ResidentGrads>(layout, device, std::move(overwritten), zero);
  }
  return std::make_unique<state::ShardedGrads>(layout, model.spec.tied, device,
                                               std::move(overwritten), zero);
}

// This rank's part of one batch, and the context that all layers share.
struct Executor::Step : RankBatch {
  model::LayerContext context;
  std::optional<model::RouterBalance> balance;

  Step(const Executor& owner, const data::PackedBatch& batch, model::LoraPass lora)
      : RankBatch(rank_batch(padded(batch, owner.device_), owner.mesh_, owner.plan_.ring_order,
                             owner.device_, 1.0 / std::sqrt(owner.model_.spec.head_dim))) {
    std::vector<int64_t> lengths;
    if (owner.rotary_.by_length()) lengths = document_lengths(batch.document_starts, rows);
    auto [cos, sin] = owner.rotary_.table(positions, lengths);
    lora.rows = &rows;
    context = {attention.get(), cos, sin, {owner.plan_.tiles, lora}};
    // A batch without targets only keeps a rank busy (data/loader.h): its routing counts nowhere.
    if (!owner.model_.spec.balanced() || batch.trained_tokens == 0) return;
    const int64_t tokens = std::ssize(batch.tokens);
    const int64_t mine = layout::size(layout::before(rows, tokens));
    context.pass.balance = &balance.emplace(owner.model_.spec, tokens, mine, owner.device_);
  }
  Step(const Step&) = delete;  // the context has pointers into it
  Step& operator=(const Step&) = delete;
};

Executor::Executor(const layout::Model& model, state::Weights& weights, const at::Device& device,
                   plan::ExecutionPlan plan, device::HostArena& arena, device::Phases& phases,
                   const dist::Mesh& mesh)
    : model_(model),
      weights_(weights),
      device_(device),
      plan_(std::move(plan)),
      phases_(phases),
      mesh_(mesh),
      rotary_(model.spec, device),
      store_(plan_.saved, device, arena, device::make_transfer(device, arena)) {
  arena.wait_until_pinned();
  for (int64_t i = 0; i < model.spec.layers; ++i) layers_.emplace_back(model.spec, i);
}

void Executor::warn_of_imbalance(const Step& step) {
  if (step.uneven.empty() || warned_of_imbalance_) return;
  warned_of_imbalance_ = true;
  log("ranks of the ring have unlike shares of attention: {}", step.uneven);
}

// Each rank fills its own rows and leaves zeros in the others', so that the sum is the whole.
at::Tensor Executor::real_logits(const data::PackedBatch& batch, const Step& step,
                                 const at::Tensor& x, const model::HeadParams& head) const {
  const int64_t tokens = std::ssize(batch.tokens);
  const layout::Rows rows = layout::before(step.rows, tokens);
  const at::Tensor mine = model::head_logits(model_.spec, x.narrow(0, 0, layout::size(rows)), head);
  const dist::Group& group = mesh_.group(config::Axis::kSequence);
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

model::RouterLoad Executor::balance(const Step& step) const {
  model::RouterBalance* balance = step.context.pass.balance;
  if (balance == nullptr) return {};
  whole(balance->sums());
  return balance->finish();
}

at::Tensor Executor::whole(at::Tensor loss) const {
  mesh_.group(config::Axis::kSequence).all_reduce(loss)->wait();
  return loss;
}

model::LayerParams Executor::layer_grads(const Step& step, state::GradStore& grads,
                                         int64_t layer) const {
  const int64_t block = model_.layout.layer(layer);
  if (!trained(block)) return {};
  const at::Tensor flat = grads.accumulator(block);
  model::LayerParams params;
  if (!model_.adapters) {
    params = model::layer_params(model_.spec, model_.layout, layer, flat);
    if (grads.take_overwrite(block)) {
      // Without rows there are no products that would overwrite it.
      step.tokens.numel() == 0 ? static_cast<void>(flat.zero_()) : model::mark_overwrite(params);
    }
    return params;
  }
  model::attach(params, model::layer_adapters(model_.spec, *model_.adapters, layer, flat));
  return params;
}

model::HeadParams Executor::head_grads(state::GradStore& grads) const {
  const int64_t block = model_.layout.head();
  if (!trained(block)) return {};
  const at::Tensor flat = grads.accumulator(block);
  if (model_.adapters) return model::trained_head(*model_.adapters, flat);
  const bool tied = model_.spec.tied;
  const int64_t embedding = model_.layout.embedding();
  const at::Tensor table = tied ? grads.accumulator(embedding) : at::Tensor();
  model::HeadParams params = model::head_params(model_.spec, model_.layout, table, flat);
  params.overwrite = grads.take_overwrite(tied ? embedding : block);
  return params;
}

void Executor::embedding_backward(const Step& step, const at::Tensor& dx,
                                  state::GradStore& grads) const {
  const int64_t block = model_.layout.embedding();
  if (!trained(block)) return;
  const at::Tensor flat = grads.accumulator(block);
  at::Tensor table = model_.adapters ? model::trained_table(*model_.adapters, flat)
                                     : model::embedding_table(model_.layout, flat);
  model::embed_backward(model_.spec, table, dx, step.tokens);
  grads.finish(block);
}

void Executor::at_layer(int64_t layer, bool in_backward) {
  phases_.at_layer(layer);
  if (between_) between_(in_backward);
}

at::Tensor Executor::forward_layers(const Step& step, bool save) {
  const auto scope = phases_.enter("forward");
  if (save) store_.begin();
  at::Tensor x = weights_.embed(step.tokens);
  for (int64_t i = 0; i < model_.spec.layers; ++i) {
    at_layer(i, /*in_backward=*/false);
    const state::Weights::Layer layer = weights_.layer(i);
    // A layer that will be recomputed keeps its intermediates in that later pass, not now.
    const plan::Keep keep = i < plan_.recomputed_layers() ? plan::Keep{} : plan_.keep[i];
    model::SavedLayer saved;
    x = layers_[i].forward(x, layer.params, step.context, keep, save ? &saved : nullptr);
    if (save) store_.put(i, std::move(saved));
  }
  return x;
}

void Executor::recompute(const Step& step, int64_t first, int64_t end) {
  at::Tensor x;
  for (int64_t i = first; i < end; ++i) {
    model::SavedLayer saved = store_.get(i);
    if (i + 1 < end) store_.prefetch(i + 1);
    if (i == first) x = saved.x;
    at_layer(i, /*in_backward=*/true);
    const state::Weights::Layer layer = weights_.layer(i);
    x = layers_[i].forward(x, layer.params, step.context, plan_.keep[i], &saved);
    store_.hold(i, std::move(saved));
  }
}

void Executor::backward_layers(const Step& step, at::Tensor dx, state::GradStore& grads) {
  const auto scope = phases_.enter("backward");
  int64_t end = model_.spec.layers;
  for (auto segment = plan_.segments.rbegin(); segment != plan_.segments.rend(); ++segment) {
    const int64_t first = *segment;
    if (end < model_.spec.layers) recompute(step, first, end);
    const auto before = std::next(segment);
    const int64_t then = before == plan_.segments.rend() ? -1 : *before;
    for (int64_t i = end - 1; i >= first; --i) {
      at_layer(i, /*in_backward=*/true);
      const state::Weights::Layer layer = weights_.layer(i);
      model::LayerParams to = layer_grads(step, grads, i);
      model::SavedLayer saved = store_.get(i);
      store_.prefetch(i > first ? i - 1 : then);
      dx = layers_[i].backward(std::move(dx), layer.params, to, step.context, std::move(saved));
      if (trained(model_.layout.layer(i))) grads.finish(model_.layout.layer(i));
    }
    end = first;
  }
  embedding_backward(step, dx, grads);
}

LossSum Executor::forward(const data::PackedBatch& batch, at::Tensor* logits) {
  const Step step(*this, batch, {});
  const at::Tensor x = forward_layers(step, /*save=*/false);
  model::RouterLoad router = balance(step);
  const state::Weights::Head head = weights_.head();
  if (logits != nullptr) *logits = real_logits(batch, step, x, head.params);
  return {whole(model::head_loss(model_.spec, x, head.params, step.trained, plan_.tiles.loss)),
          batch.trained_tokens, std::move(router)};
}

LossSum Executor::forward_backward(const data::PackedBatch& batch, double grad_scale,
                                   state::GradStore& grads, uint64_t seed, at::Tensor* logits) {
  const double dropout = model_.adapters ? model_.adapters->lora.dropout : 0;
  const Step step(*this, batch, {.dropout = dropout, .seed = seed});
  warn_of_imbalance(step);
  at::Tensor x = forward_layers(step, /*save=*/true);
  model::RouterLoad router = balance(step);
  model::HeadBackward result;
  {
    const auto scope = phases_.enter("head and loss");
    const state::Weights::Head head = weights_.head();
    if (logits != nullptr) *logits = real_logits(batch, step, x, head.params);
    model::HeadParams to = head_grads(grads);
    result = model::head_loss_backward(model_.spec, x, head.params, to, step.trained, grad_scale,
                                       plan_.tiles.loss);
    x.reset();
    if (trained(model_.layout.head())) grads.finish(model_.layout.head());
  }
  backward_layers(step, std::move(result.dx), grads);
  return {whole(result.loss), batch.trained_tokens, std::move(router)};
}

}  // namespace trireme::engine
