// Documents side by side in one sequence, masked from each other, positions restarting at each.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/sample.h"

namespace trireme::data {

// The label that is no target, as in torch and transformers.
constexpr int64_t kIgnored = -100;

// A batch in host memory, whole: it knows nothing of ranks. Targets are shifted already: targets[i]
// is the token that follows tokens[i], or -100.
struct PackedBatch {
  std::vector<int64_t> tokens;           // [T]
  std::vector<int64_t> targets;          // [T]
  std::vector<int64_t> document_starts;  // n + 1 offsets: 0, ..., T
  int64_t trained_tokens = 0;            // targets that are not -100
  int64_t samples = 0;
};

// Appends one document: labels as in transformers (labels[i] belongs to position i), shifted
// inside.
void append_document(PackedBatch& batch, std::span<const int64_t> tokens,
                     std::span<const int64_t> labels);

// Tokens of each sample.
std::vector<int64_t> lengths_of(std::span<const TokenizedSample> samples);

// One epoch's order as bins of sample indices: first-fit decreasing within windows of the shuffled
// order, each bin at most max_length tokens (packing) or one sample (no packing). Pure function of
// its arguments.
std::vector<std::vector<int64_t>> plan_epoch(std::span<const int64_t> lengths, int64_t max_length,
                                             bool packing, bool shuffle, uint64_t seed,
                                             int64_t epoch);

// The batch of `bins` (batch_size of them side by side).
PackedBatch make_batch(std::span<const TokenizedSample> samples,
                       std::span<const std::vector<int64_t>> bins);

}  // namespace trireme::data
