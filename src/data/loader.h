// Samples as the batches of optimizer steps: epochs of packed, shuffled bins, grouped by batch size
// and accumulation.
// Every rank makes the same plan of an epoch and takes its own micro-batches from it: no data are
// sent.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "config/run_config.h"
#include "data/packing.h"
#include "data/sample.h"

namespace trireme::data {

// Which of the ranks that compute different micro-batches this one is.
struct DataRank {
  int64_t index = 0;
  int64_t ranks = 1;
};

// One optimizer step, as one of these ranks sees it.
struct StepBatches {
  // All ranks have the same number: a rank with fewer gets batches of one token and no target.
  std::vector<PackedBatch> mine;
  int64_t tokens = 0, trained_tokens = 0;  // of all ranks
};

// An epoch's bins; a step's micro-batches are made when its turn comes, dealt to the ranks in turn.
class Epoch {
 public:
  // accumulation: micro-batches of a rank in a step. The first `done` bins were of steps before,
  // perhaps of another size: their number counts as if it had been this one.
  Epoch(std::span<const TokenizedSample> samples, std::vector<std::vector<int64_t>> bins,
        int64_t batch_size, int64_t accumulation, DataRank rank, int64_t done = 0);

  int64_t steps() const;
  int64_t first_step() const;  // that is not done
  // Bins that are done after that step.
  int64_t done_after(int64_t step) const;
  // The last step of an epoch may have fewer micro-batches, or a smaller one.
  StepBatches batches(int64_t step) const;

 private:
  std::span<const TokenizedSample> samples_;
  std::vector<std::vector<int64_t>> bins_;
  int64_t batch_size_;
  int64_t step_size_;  // bins of a step
  DataRank rank_;
  int64_t done_;
};

// Samples shuffled by (seed, epoch): the same order on every run and rank.
Epoch training_epoch(std::span<const TokenizedSample> samples, const config::SampleOptions& options,
                     const config::TrainingOptions& training, int64_t epoch, DataRank rank = {},
                     int64_t done = 0);
// Samples in order, one micro-batch for each rank and step.
Epoch evaluation_epoch(std::span<const TokenizedSample> samples,
                       const config::SampleOptions& options, int64_t eval_batch_size,
                       DataRank rank = {});

// The sizes for which memory is planned.
struct BatchSize {
  int64_t tokens = 0;     // of the longest micro-batch
  int64_t longest = 0;    // of its longest document
  int64_t documents = 1;  // the most that one has
};
// Upper bounds over the micro-batches of any epoch.
BatchSize largest_batch(std::span<const TokenizedSample> samples,
                        const config::SampleOptions& options, int64_t batch_size);

}  // namespace trireme::data
