// The loss that balances a mixture of experts: Switch Transformer (Fedus et al. 2021), equations 4
// to 6, over the tokens of all layers together, as transformers' load_balancing_loss_func has it.
// With E experts and R = tokens x layers that have them:
//
//   loss = E sum_e f_e P_e      f_e = times that e was chosen / R      P_e = e's probabilities / R
//
// f has no gradient. So the loss has the gradient E f_e / R at each token's probability of e, in
// every layer the same, and known as soon as forward has been through all layers.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "config/model_spec.h"
#include "ops/routing.h"

namespace trireme::model {

// Of one micro-batch, or sums over several; on the device. Undefined tensors: of none.
struct RouterLoad {
  int64_t micro_batches = 0;
  at::Tensor loss;     // fp64, 0-dim, without the coefficient
  at::Tensor choices;  // fp64 [layers,E]: tokens of each expert; zeros in layers without experts

  void add(const RouterLoad& other);
};

class RouterBalance {
 public:
  // For a batch of `tokens` tokens in all, of which the first `mine` of this rank's rows are some:
  // what follows them is padding.
  RouterBalance(const config::ModelSpec& spec, int64_t tokens, int64_t mine,
                const at::Device& device);

  // Counts a tile that begins at row `first`: its logits [n,E] and what was chosen.
  void add(int64_t layer, int64_t first, const at::Tensor& logits, const ops::Routing& routing);
  // fp64 [layers + 1, E]: the choices of each layer, and all probabilities. Ranks that share the
  // batch add theirs up before they call finish().
  const at::Tensor& sums() const { return sums_; }
  // The loss, and from now on its gradient. Nothing waits for the device.
  RouterLoad finish();
  // The gradient of coefficient * loss at a tile of `rows` rows that begins at row `first`.
  ops::ProbabilityGrad gradient(int64_t first, int64_t rows) const;

 private:
  int64_t counted(int64_t first, int64_t rows) const;

  double coefficient_;
  double rows_;  // R
  int64_t mine_;
  at::Tensor sums_;
  at::Tensor dprobability_;  // fp32 [E]
};

}  // namespace trireme::model
