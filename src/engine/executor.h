// Walks the layers forward and backward. It decides nothing: which intermediates are kept and
// where, which layers are run again and how large a tile is come from the ExecutionPlan.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "config/model_spec.h"
#include "data/packing.h"
#include "dist/mesh.h"
#include "engine/activation_store.h"
#include "engine/model_folder.h"
#include "engine/phases.h"
#include "engine/stores.h"
#include "engine/weights.h"
#include "layout/sequence.h"
#include "model/decoder_layer.h"
#include "model/head.h"

namespace trireme::engine {

struct ExecutionPlan {
  std::vector<model::Keep> keep;  // per layer
  model::Tiles tiles;
  std::vector<Places> places;  // per layer
  // First layers of the segments, ascending from 0. Backward runs the layers of a segment forward
  // again before it goes through them, from the input of the first; not those of the last segment,
  // with which it begins. {0}: nothing is run again.
  std::vector<int64_t> segments = {0};
  int64_t host_bytes = 0;  // of the arena
  layout::Order ring_order = layout::Order::kBalanced;
};

// Sums, never means. `sum` is a 0-dim fp32 tensor on the device: reading it synchronises.
struct LossSum {
  at::Tensor sum;
  int64_t tokens = 0;
};

// Tokens that a batch of one document is computed with on CUDA: `tokens` rounded up by at most a
// sixteenth. Attention's plans (tens of milliseconds each) and the allocator's blocks are then of a
// few shapes, whatever the lengths of the documents.
int64_t bucket(int64_t tokens);

// Of each block of the trained layout: whether backward writes the gradients of all its matrices
// with products (a dense layer, and what holds the head).
std::vector<bool> overwritten_blocks(const Model& model);

// Gradients of what is trained: whole on every rank, or sharded. All references outlive them.
std::unique_ptr<GradStore> make_grads(const Model& model, const at::Device& device,
                                      const Zero& zero);

class Executor {
 public:
  // All references outlive the executor. `arena` has the plan's host_bytes; waits until it is
  // pinned. The ranks of the mesh's `sequence` groups compute each batch together, each some rows
  // of it; all give the same batches, and have the same plan.
  Executor(const Model& model, Weights& weights, const at::Device& device, ExecutionPlan plan,
           HostArena& arena, Phases& phases, const dist::Mesh& mesh);

  // Forward only. The loss is that of the whole batch on every rank. `logits`, when not null,
  // receives fp32 [T,V]: for comparisons, not for long sequences.
  LossSum forward(const data::PackedBatch& batch, at::Tensor* logits = nullptr);

  // Forward and backward of loss_sum * grad_scale; gradients of what is trained, from this rank's
  // rows, are added to `grads`, whose blocks are those of the model's trained layout. `seed`: of
  // adapters' dropout.
  LossSum forward_backward(const data::PackedBatch& batch, double grad_scale, GradStore& grads,
                           uint64_t seed = 0, at::Tensor* logits = nullptr);

  // The most bytes of saved activations that one pass has had on the host.
  int64_t stored_bytes() const { return store_.stored_bytes(); }

 private:
  struct Step;
  // Says, of the first batch of which it is so, that ranks wait for each other in the ring.
  void tell_uneven(const Step& step);
  model::Lora lora(double dropout, uint64_t seed) const;
  at::Tensor real_logits(const data::PackedBatch& batch, const Step& step, const at::Tensor& x,
                         const model::HeadParams& head) const;
  // The sum over the ranks that share the batch.
  at::Tensor whole(at::Tensor loss) const;
  model::LayerParams layer_grads(const Step& step, GradStore& grads, int64_t layer) const;
  // `save`: for backward, into the store.
  at::Tensor forward_layers(const Step& step, bool save);
  // Fills the store with what the layers [first, end) save, from the input of the first.
  void run_again(const Step& step, int64_t first, int64_t end);
  void backward_layers(const Step& step, at::Tensor dx, GradStore& grads);

  const Model& model_;
  Weights& weights_;
  at::Device device_;
  ExecutionPlan plan_;
  Phases& phases_;
  const dist::Mesh& mesh_;
  at::Tensor frequencies_;  // of the rotation, on the device
  std::vector<model::DecoderLayer> layers_;
  ActivationStore store_;
  bool told_uneven_ = false;
};

}  // namespace trireme::engine
