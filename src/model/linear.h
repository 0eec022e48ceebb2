// A linear layer as the decoder uses it: a weight that is trained or frozen, and perhaps a LoRA
// adapter beside it.
//
//   y = x W^T + bias + scale * (dropout(x) A^T B^T + bias of B)
//
// The same structure holds gradients: undefined where nothing is trained, and then no product is
// computed for it. A fused matrix (q, k, v; gate, up) has one A for all its parts and a B for each
// (LinearAdapter), so that an adapter costs two narrow products, whatever the number of parts.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "layout/sequence.h"

namespace trireme::model {

// The adapter of one matrix, as views of a flat block of weights or gradients. Without parts there
// is no adapter.
struct LinearAdapter {
  struct Part {
    int64_t first_row = 0;   // of the fused matrix's outputs
    int64_t rows = 0;        // outputs of this part
    int64_t first_rank = 0;  // row of `a` where this part's r rows begin
    at::Tensor b;            // [rows, r], or [E, rows, r]
    double scale = 1;
    // Of DoRA (model/dora.h); of gradients only the first. `b` of weights then holds factor * B.
    at::Tensor magnitude, norm, factor;  // [rows]
    at::Tensor plain_b;                  // B
  };
  at::Tensor a;  // [sum of ranks, in], or [E, sum of ranks, in]
  std::vector<Part> parts;
  // Of DoRA: the frozen W, of which the layer's weight is then a multiple, or with dropout what
  // the adapter adds to it beside A and B; both [out, in].
  at::Tensor weight, direct;

  bool present() const { return !parts.empty(); }
};

// A trained bias of some of a matrix's outputs: of the base, or of an adapter's B, by its scale.
struct TrainedBias {
  int64_t first_row = 0;
  double scale = 1;
  bool of_base = true;
  at::Tensor bias;  // [rows]
};

struct Linear {
  at::Tensor weight;  // [out, in], or of experts [E, out, in]
  at::Tensor bias;    // [out]; undefined without
  LinearAdapter adapter;
  std::vector<TrainedBias> trained_biases;  // `bias` of weights holds their sum: add_biases()

  // In gradients: the weight's gradient holds nothing yet, and the first product overwrites it.
  bool overwrite = false;
  // In gradients: whether the layer's input is needed to compute them.
  bool trained() const { return weight.defined() || adapter.present(); }
};

// The matrices of a layer, each with a dropout mask of its own. The parts of a fused one share it.
enum class Matrix : uint64_t { kQkv, kO, kGateUp, kDown };

// How adapters are applied in this pass. of_layer() narrows it to a layer, and of() to a matrix and
// to the tile that begins at `first_row` of this rank's rows.
struct LoraPass {
  double dropout = 0;  // 0 in evaluation
  uint64_t seed = 0;   // of the dropout's mask
  // This rank's rows of the sequence; nullptr: all. A row's mask depends on its position alone,
  // however the sequence is cut (except for experts, whose rows are sorted).
  const layout::Rows* rows = nullptr;
  int64_t first_row = 0;  // of the tile, among this rank's rows

  LoraPass of_layer(int64_t layer) const;
  LoraPass of(Matrix matrix, int64_t first_row = 0) const;
};

// Makes `bias` the sum of the frozen bias, of which the trained ones of the base take the place,
// and of those of the adapters.
void add_biases(Linear& layer);

// x [N,in] -> [N,out], or into `out` (rows may be strided).
at::Tensor linear(const Linear& layer, const at::Tensor& x, const LoraPass& lora,
                  at::Tensor out = {});
// out = base + the same; out may be base.
void linear_add(const Linear& layer, at::Tensor out, const at::Tensor& base, const at::Tensor& x,
                const LoraPass& lora);

// The gradient at a layer's input [N,in], and that at the outputs of an adapter's A [N, parts r]
// (undefined without), which the adapter's own gradients need again.
struct InputGrad {
  at::Tensor dx;
  at::Tensor narrow;
};

// dy [N,out] -> dx [N,in].
InputGrad linear_input_grad(const Linear& layer, const at::Tensor& dy, const LoraPass& lora);
// Gradients of what is trained are added to `grads`; x is not read (and may be undefined) when
// grads.trained() is false. `narrow`: of linear_input_grad.
void linear_weight_grads(const Linear& layer, Linear& grads, const at::Tensor& dy,
                         const at::Tensor& x, const at::Tensor& narrow, const LoraPass& lora);
// linear_input_grad and linear_weight_grads together; returns dx.
at::Tensor linear_backward(const Linear& layer, Linear& grads, const at::Tensor& dy,
                           const at::Tensor& x, const LoraPass& lora);
// The same for rows grouped by expert, which end at `ends` (ops/grouped.h).
at::Tensor grouped_linear(const Linear& layer, const at::Tensor& x, const at::Tensor& ends,
                          const LoraPass& lora);
InputGrad grouped_input_grad(const Linear& layer, const at::Tensor& dy, const at::Tensor& ends,
                             const LoraPass& lora);
void grouped_weight_grads(const Linear& layer, Linear& grads, const at::Tensor& dy,
                          const at::Tensor& x, const at::Tensor& narrow, const at::Tensor& ends,
                          const LoraPass& lora);
at::Tensor grouped_linear_backward(const Linear& layer, Linear& grads, const at::Tensor& dy,
                                   const at::Tensor& x, const at::Tensor& ends,
                                   const LoraPass& lora);

}  // namespace trireme::model
