#include "model/router_balance.h"

#include <ATen/ops/dot.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "base/error.h"

namespace trireme::model {

void RouterLoad::add(const RouterLoad& other) {
  if (!other.loss.defined()) return;
  micro_batches += other.micro_batches;
  loss = loss.defined() ? loss + other.loss : other.loss;  // another tensor: `other` stays
  choices = choices.defined() ? choices + other.choices : other.choices;
}

RouterBalance::RouterBalance(const config::ModelSpec& spec, int64_t tokens, int64_t mine,
                             const at::Device& device)
    : coefficient_(*spec.moe->balance_coefficient),
      rows_(static_cast<double>(tokens) *
            static_cast<double>(std::ranges::count(spec.sparse_layers, true))),
      mine_(mine),
      sums_(at::zeros({spec.layers + 1, spec.moe->experts},
                      at::TensorOptions(at::kDouble).device(device))) {}

int64_t RouterBalance::counted(int64_t first, int64_t rows) const {
  return std::clamp<int64_t>(mine_ - first, 0, rows);
}

void RouterBalance::add(int64_t layer, int64_t first, const at::Tensor& logits,
                        const ops::Routing& routing) {
  ops::add_router_load(logits, routing, counted(first, logits.size(0)), sums_.select(0, layer),
                       sums_.select(0, -1));
}

RouterLoad RouterBalance::finish() {
  const int64_t layers = sums_.size(0) - 1, experts = sums_.size(1);
  const at::Tensor choices = sums_.narrow(0, 0, layers);
  const at::Tensor slope = choices.sum({0}) * (static_cast<double>(experts) / (rows_ * rows_));
  dprobability_ = (slope * coefficient_).to(at::kFloat);
  return {1, at::dot(slope, sums_.select(0, -1)), choices};
}

ops::ProbabilityGrad RouterBalance::gradient(int64_t first, int64_t rows) const {
  TRIREME_CHECK(dprobability_.defined(), "finish() comes before backward");
  return {dprobability_, counted(first, rows)};
}

}  // namespace trireme::model
