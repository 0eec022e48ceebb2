// Samples as the batches of optimizer steps: epochs of packed, shuffled bins, grouped by batch size
// and accumulation.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "config/run_config.h"
#include "data/packing.h"
#include "data/sample.h"

namespace trireme::engine {

// An epoch's bins; a step's micro-batches are made when its turn comes.
class Epoch {
 public:
  Epoch(std::span<const data::TokenizedSample> samples, std::vector<std::vector<int64_t>> bins,
        int64_t batch_size, int64_t accumulation);

  int64_t steps() const;
  // Micro-batches of a step; the last step of an epoch may have fewer, or a smaller one.
  std::vector<data::PackedBatch> batches(int64_t step) const;

 private:
  std::span<const data::TokenizedSample> samples_;
  std::vector<std::vector<int64_t>> bins_;
  int64_t batch_size_;
  int64_t accumulation_;
};

// Shuffled by (seed, epoch): the same on every run.
Epoch training_epoch(std::span<const data::TokenizedSample> samples, const config::RunConfig& run,
                     int64_t epoch);
// In order, one micro-batch a step.
Epoch evaluation_epoch(std::span<const data::TokenizedSample> samples,
                       const config::RunConfig& run);

// What memory is planned for.
struct BatchSize {
  int64_t tokens = 0;     // of the longest micro-batch
  int64_t longest = 0;    // of its longest document
  int64_t documents = 1;  // the most that one has
};
// Upper bounds over the micro-batches of any epoch.
BatchSize largest_batch(std::span<const data::TokenizedSample> samples,
                        const config::RunConfig& run, int64_t batch_size);

}  // namespace trireme::engine
