#include "engine/executor.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <cmath>
#include <optional>

#include "attention/attention.h"
#include "model/head.h"
#include "model/rope_frequencies.h"
#include "ops/linear.h"
#include "ops/rope.h"

namespace trireme::engine {
namespace {

at::Tensor to_device(const std::vector<int64_t>& values, const at::Device& device) {
  at::Tensor host = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), host.mutable_data_ptr<int64_t>());
  return host.to(device);
}

// Positions restart at each document.
at::Tensor positions(const std::vector<int64_t>& starts, const at::Device& device) {
  std::vector<int64_t> list(starts.back());
  for (size_t d = 1; d < starts.size(); ++d) {
    for (int64_t i = starts[d - 1]; i < starts[d]; ++i) list[i] = i - starts[d - 1];
  }
  return to_device(list, device);
}

model::Targets trained_rows(const data::PackedBatch& batch, const at::Device& device) {
  std::vector<int64_t> rows, targets;
  for (size_t i = 0; i < batch.targets.size(); ++i) {
    if (batch.targets[i] < 0) continue;
    rows.push_back(static_cast<int64_t>(i));
    targets.push_back(batch.targets[i]);
  }
  return {to_device(rows, device), to_device(targets, device)};
}

}  // namespace

// One batch on the device.
struct Executor::Step {
  at::Tensor tokens;
  model::Targets targets;
  attention::LocalAttention attention;
  model::LayerContext context;

  Step(const config::ModelSpec& spec, const data::PackedBatch& batch, const at::Device& device,
       model::Tiles tiles)
      : tokens(to_device(batch.tokens, device)),
        targets(trained_rows(batch, device)),
        attention(batch.document_starts, device, 1.0 / std::sqrt(spec.head_dim)) {
    auto [cos, sin] =
        ops::rope_table(positions(batch.document_starts, device), model::inverse_frequencies(spec));
    context = {&attention, cos, sin, tiles};
  }
};

Executor::Executor(const config::ModelSpec& spec, const model::ModelLayout& layout,
                   ParamStore& params, const at::Device& device, ExecutionPlan plan)
    : spec_(spec), layout_(layout), params_(params), device_(device), plan_(std::move(plan)) {
  for (int64_t i = 0; i < spec.layers; ++i) layers_.emplace_back(spec, i);
}

LossSum Executor::forward(const data::PackedBatch& batch, at::Tensor* logits) {
  return run(batch, 0.0, nullptr, logits);
}

LossSum Executor::forward_backward(const data::PackedBatch& batch, double grad_scale,
                                   GradStore& grads, at::Tensor* logits) {
  return run(batch, grad_scale, &grads, logits);
}

LossSum Executor::run(const data::PackedBatch& batch, double grad_scale, GradStore* grads,
                      at::Tensor* logits) {
  const Step step(spec_, batch, device_, plan_.tiles);
  std::vector<model::SavedLayer> saved(grads != nullptr ? spec_.layers : 0);

  at::Tensor x;
  {
    const Lease embed = params_.lease(0);
    x = ops::embedding(model::param_view(embed.flat(), layout_.blocks[0].params[0]), step.tokens);
  }
  for (int64_t i = 0; i < spec_.layers; ++i) {
    const Lease lease = params_.lease(i + 1);
    x = layers_[i].forward(x, model::layer_params(spec_, layout_, i, lease.flat()), step.context,
                           plan_.keep[i], grads != nullptr ? &saved[i] : nullptr);
  }

  const Lease embed = params_.lease(0), head = params_.lease(layout_.head_block());
  const model::HeadParams weights = model::head_params(spec_, layout_, embed.flat(), head.flat());
  if (logits != nullptr) *logits = model::head_logits(spec_, x, weights);
  if (grads == nullptr) {
    return {model::head_loss(spec_, x, weights, step.targets, plan_.tiles.loss),
            batch.trained_tokens};
  }
  at::Tensor embed_grads = grads->accumulator(0);
  model::HeadParams head_grads =
      model::head_params(spec_, layout_, embed_grads, grads->accumulator(layout_.head_block()));
  auto [loss, dx] = model::head_loss_backward(spec_, x, weights, head_grads, step.targets,
                                              grad_scale, plan_.tiles.loss);
  x.reset();
  for (int64_t i = spec_.layers - 1; i >= 0; --i) {
    const Lease lease = params_.lease(i + 1);
    model::LayerParams layer_grads =
        model::layer_params(spec_, layout_, i, grads->accumulator(i + 1));
    dx = layers_[i].backward(std::move(dx), model::layer_params(spec_, layout_, i, lease.flat()),
                             layer_grads, step.context, std::move(saved[i]));
  }
  at::Tensor table = model::param_view(embed_grads, layout_.blocks[0].params[0]);
  ops::accumulate_embedding_grad(table, dx, step.tokens);
  return {loss, batch.trained_tokens};
}

}  // namespace trireme::engine
