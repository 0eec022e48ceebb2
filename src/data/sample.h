// Reviews -> samples -> token ids. A sample is one review to write, given what came before it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "data/chat_template.h"
#include "data/review.h"

namespace trireme::data {

// Indices into a ReviewSet: the history is the user's reviews [0, review).
struct SampleRef {
  int64_t user = 0;
  int64_t review = 0;
};

struct Split {
  std::vector<SampleRef> train;
  std::vector<SampleRef> validation;
};

// Selects (max_samples_per_user, one_sample_per_user, sample_strategy) and splits (val_ratio; by
// time or by user).
Split split_samples(const ReviewSet& reviews, const config::SampleOptions& options);

// A sample's tokens: prompt, then the trained answer with its end-of-turn token.
struct TokenizedSample {
  std::vector<int32_t> tokens;
  int64_t trained_from = 0;     // index of the first trained token
  int64_t history_dropped = 0;  // reviews left out for length
  SampleRef ref;
};

struct SampleSet {
  std::vector<TokenizedSample> samples;
  Tally dropped;
};

// Tokenizes with the length budget: oldest history goes first, the target is never cut; O(total
// tokens). `threads`: 0 = all cores. Throws UserError when no sample fits max_length.
SampleSet tokenize_samples(const ReviewSet& reviews, const std::vector<SampleRef>& refs,
                           const config::SampleOptions& options, const Tokenizer& tokenizer,
                           const ChatTemplate& chat, int64_t threads = 0);

// The chat messages of a sample with the whole history, for display and for generate.
std::vector<Turn> prompt_messages(const ReviewSet& reviews, SampleRef ref,
                                  const config::SampleOptions& options);

}  // namespace trireme::data
