// The arithmetic of one training step, by kind of kernel: what a step must do, and what recomputing
// adds. Convention: causal attention counts half of the square; recomputation is never in `needed`.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/activations.h"
#include "engine/device.h"
#include "engine/model_folder.h"
#include "ops/adamw.h"

namespace trireme::engine {

struct Work {
  double products = 0;            // flops of dense matrix products
  double grouped = 0;             // flops of products of experts
  double attention_forward = 0;   // flops
  double attention_backward = 0;  // flops
  double optimizer_bytes = 0;     // of memory traffic

  Work& operator+=(const Work& other);
};

// documents: tokens of each; trained: tokens that have a loss. The optimizer is that of fp32
// masters and moments.
Work needed_work(const Model& model, const std::vector<int64_t>& documents, int64_t trained);
// Of one update of bf16 weights.
double optimizer_bytes(const model::ModelLayout& trained, bool master, ops::MomentFormat moments);
// What is done again: where `keep` does not keep, and the whole forward pass of the first
// `run_again` layers.
Work repeated_work(const Model& model, const std::vector<int64_t>& documents,
                   const std::vector<model::Keep>& keep, int64_t run_again = 0);

// Measured on this device in this process: flops per second, bytes per second.
struct Rates {
  double products = 0;
  double grouped = 0;
  double attention_forward = 0;
  double attention_backward = 0;
  double bytes = 0;
  double link = 0;  // between device and pinned host memory, each way while the other is busy too
};
double seconds_at(const Work& work, const Rates& rates);

// Times the kernels alone on the model's own sizes, each for about a third of a second.
Rates measure_rates(const Model& model, const Machine& machine,
                    const std::vector<int64_t>& documents);

}  // namespace trireme::engine
