// The cost of one training step, by kind of kernel: the model's flops, which a step cannot do
// without (as in MFU), and the flops of recomputing (both together are as in HFU). Causal attention
// counts half of the square.
#pragma once

#include <cstdint>
#include <vector>

#include "base/number_format.h"
#include "layout/model.h"
#include "plan/execution.h"
#include "plan/hardware.h"

namespace trireme::plan {

// Flops of one layer's attention: scores and values, each token with those before it. Backward has
// five products where forward has two.
double attention_flops(const config::ModelSpec& spec, const std::vector<int64_t>& documents);
inline constexpr double kBackwardAttention = 2.5;

struct StepCost {
  double products = 0;            // flops of dense matrix products
  double grouped = 0;             // flops of products of experts
  double attention_forward = 0;   // flops
  double attention_backward = 0;  // flops
  double optimizer_bytes = 0;     // of memory traffic

  StepCost& operator+=(const StepCost& other);
};

// documents: tokens of each; trained: tokens that have a loss. The optimizer is that of fp32
// masters and moments.
StepCost model_cost(const layout::Model& model, const std::vector<int64_t>& documents,
                    int64_t trained);
// Bytes of memory traffic of one update of bf16 weights.
double optimizer_bytes(const layout::ModelLayout& trained, bool master, MomentFormat moments);
// What recomputing adds: where `keep` does not keep, and the whole forward pass of the first
// `recomputed_layers` layers.
StepCost recompute_cost(const layout::Model& model, const std::vector<int64_t>& documents,
                        const std::vector<Keep>& keep, int64_t recomputed_layers = 0);

double seconds_at(const StepCost& cost, const Rates& rates);

}  // namespace trireme::plan
