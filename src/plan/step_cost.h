// The time model: the cost of a training step by kind of kernel, and its seconds at a machine's
// rates. The search for the best plan and the bound that the benchmark prints both use it.
//
// The model's flops are those that a step cannot do without, as in MFU; with the flops of
// recomputing they are as in HFU. Causal attention counts half of the square.
#pragma once

#include <cstdint>
#include <vector>

#include "base/number_format.h"
#include "layout/model.h"
#include "plan/execution.h"
#include "plan/hardware.h"

namespace trireme::plan {

// What the cost of a batch depends on. For ranks that share a batch it is one rank's share.
struct Workload {
  double tokens = 0;
  double squares = 0;  // the sum over documents of their tokens squared

  // `documents`: tokens of each.
  static Workload of(const std::vector<int64_t>& documents);
  // One of `ranks` equal shares of the dearest batch: that of `tokens` tokens in which as many
  // documents as possible have `longest` tokens.
  static Workload dearest(int64_t tokens, int64_t longest, int64_t ranks);
};

struct StepCost {
  double products = 0;            // flops of dense matrix products
  double grouped = 0;             // flops of products of experts
  double attention_forward = 0;   // flops
  double attention_backward = 0;  // flops
  double bytes = 0;  // read and written in the device's memory by passes that do little else

  StepCost& operator+=(const StepCost& other);
  friend StepCost operator*(double times, const StepCost& cost);
};
double seconds_at(const StepCost& cost, const Rates& rates);

// Flops of attention in one layer: scores and values, each token with those before it. Backward has
// five products where forward has two.
double attention_flops(const config::ModelSpec& spec, const Workload& workload);
inline constexpr double kBackwardAttention = 2.5;

// A layer's forward pass, in the parts whose results may be kept for backward (Keep has their
// names).
struct LayerCost {
  StepCost qkv, heads, attention, mid, gate_up, down;

  StepCost forward() const;
  // `trained`: with the gradients of the weights, and not only those of inputs.
  StepCost backward(bool trained) const;
};
LayerCost layer_cost(const config::ModelSpec& spec, int64_t layer, const Workload& workload,
                     NumberFormat format);

// The model's own flops; trained: tokens that have a loss. `bytes` are those of an update with fp32
// masters and moments.
StepCost model_cost(const layout::Model& model, const Workload& workload, int64_t trained);
// Bytes of memory traffic of one update of bf16 weights.
double optimizer_bytes(const layout::ModelLayout& trained, bool master, MomentFormat moments);

// What recomputing adds: where `keep` does not keep, and the whole forward pass of the first
// `recomputed_layers` layers.
StepCost recompute_cost(const config::ModelSpec& spec, const Workload& workload,
                        NumberFormat format, const std::vector<Keep>& keep,
                        int64_t recomputed_layers = 0);

}  // namespace trireme::plan
