// How the ranks that share a sequence share it: each holds some rows of it, and for attention they
// exchange heads (Ulysses), or keys and values go round a ring of them, or both.
#pragma once

#include <cstdint>

#include "config/run_config.h"

namespace trireme::config {

struct SequenceDegrees {
  int64_t ring = 1;
  int64_t ulysses = 1;
};

// Divides --sequence_parallel_size ranks for a model with these numbers of heads. For a hybrid
// without --ulysses_size it chooses: Ulysses as far as there are key heads, within a host of
// `local_ranks` ranks, and the ring beyond. UserError: a degree does not divide what it must; the
// message names those that do.
SequenceDegrees sequence_degrees(const RankOptions& options, int64_t heads, int64_t kv_heads,
                                 int64_t local_ranks);

// UserError: heads cannot be exchanged between so many ranks; the message names the numbers that
// can.
void check_heads(int64_t heads, int64_t degree);

}  // namespace trireme::config
