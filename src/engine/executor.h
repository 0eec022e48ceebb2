// Walks the layers forward and backward. It decides nothing: which intermediates are kept and
// where, which layers are recomputed and how large a tile is come from the ExecutionPlan.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "config/model_spec.h"
#include "data/packing.h"
#include "device/phases.h"
#include "dist/mesh.h"
#include "layout/model.h"
#include "layout/sequence.h"
#include "model/decoder_layer.h"
#include "model/head.h"
#include "model/rope_frequencies.h"
#include "state/activation_store.h"
#include "state/grads.h"
#include "state/weights.h"

namespace trireme::engine {

// Sums, never means. `sum` is a 0-dim fp32 tensor on the device: reading it synchronises.
struct LossSum {
  at::Tensor sum;
  int64_t tokens = 0;
  model::RouterLoad router;  // of the loss that balances experts, where the model asks for it
};

// For each block of the trained layout, whether backward writes the gradients of all its matrices
// with products (a dense layer, and what holds the head).
std::vector<bool> overwritten_blocks(const layout::Model& model);

// Gradients of what is trained: whole on every rank, or sharded. All references outlive them.
std::unique_ptr<state::GradStore> make_grads(const layout::Model& model, const at::Device& device,
                                             const state::Zero& zero);

class Executor {
 public:
  // All references outlive the executor. `arena` has the plan's host_bytes; waits until it is
  // pinned. The ranks of a `sequence` group of the mesh compute each batch together, and each
  // computes some of its rows. All of them pass the same batches and have the same plan.
  Executor(const layout::Model& model, state::Weights& weights, const at::Device& device,
           plan::ExecutionPlan plan, device::HostArena& arena, device::Phases& phases,
           const dist::Mesh& mesh);

  // `between` is called before each layer, forward and backward. It may throw, which ends the pass:
  // the weights are as they were, unless gradients are consumed within backward. What was started
  // ends by itself, if all ranks throw at the same layer. Empty: nothing is called.
  void call_between_layers(std::function<void(bool in_backward)> between) {
    between_ = std::move(between);
  }

  // Forward only. The loss is that of the whole batch on every rank. `logits`, when not null,
  // receives fp32 [T,V]: for comparisons, not for long sequences.
  LossSum forward(const data::PackedBatch& batch, at::Tensor* logits = nullptr);

  // Forward and backward of loss_sum * grad_scale, and of the loss that balances experts, times its
  // coefficient only: it is a mean already. Adds the gradients from this rank's rows to `grads`,
  // whose blocks are those of the model's trained layout. `seed` is that of the adapters' dropout.
  LossSum forward_backward(const data::PackedBatch& batch, double grad_scale,
                           state::GradStore& grads, uint64_t seed = 0,
                           at::Tensor* logits = nullptr);

  const layout::Model& model() const { return model_; }
  // The most bytes of saved activations that one pass has had on the host.
  int64_t stored_bytes() const { return store_.stored_bytes(); }

 private:
  struct Step;
  // Warns of the first batch for which ranks wait for each other in the ring.
  void warn_of_imbalance(const Step& step);
  // Whether the block has weights that are trained.
  bool trained(int64_t block) const { return model_.trained_layout().blocks[block].numel > 0; }
  at::Tensor real_logits(const data::PackedBatch& batch, const Step& step, const at::Tensor& x,
                         const model::HeadParams& head) const;
  // The loss that balances the experts, after forward; nothing where the model has none.
  model::RouterLoad balance(const Step& step) const;
  // The sum over the ranks that share the batch.
  at::Tensor whole(at::Tensor loss) const;
  // Where gradients are added; undefined for what is frozen.
  model::LayerParams layer_grads(const Step& step, state::GradStore& grads, int64_t layer) const;
  model::HeadParams head_grads(state::GradStore& grads) const;
  void embedding_backward(const Step& step, const at::Tensor& dx, state::GradStore& grads) const;
  void at_layer(int64_t layer, bool in_backward);
  // `save`: puts what backward needs into the store.
  at::Tensor forward_layers(const Step& step, bool save);
  // Fills the store with what the layers [first, end) save, from the input of the first.
  void recompute(const Step& step, int64_t first, int64_t end);
  void backward_layers(const Step& step, at::Tensor dx, state::GradStore& grads);

  const layout::Model& model_;
  state::Weights& weights_;
  at::Device device_;
  plan::ExecutionPlan plan_;
  device::Phases& phases_;
  const dist::Mesh& mesh_;
  model::RotaryEmbedding rotary_;
  std::vector<model::DecoderLayer> layers_;
  state::ActivationStore store_;
  std::function<void(bool in_backward)> between_;
  bool warned_of_imbalance_ = false;
};

}  // namespace trireme::engine
