#include "config/sequence_parallel.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/error.h"

namespace trireme::config {
namespace {

std::vector<int64_t> divisors(int64_t number) {
  std::vector<int64_t> list;
  for (int64_t d = 1; d <= number; ++d) {
    if (number % d == 0) list.push_back(d);
  }
  return list;
}

void check_ulysses_size(const RankOptions& options, int64_t heads) {
  const int64_t size = options.sequence_parallel_size;
  if (size % options.ulysses_size == 0 && heads % options.ulysses_size == 0) return;
  fail(
      "--ulysses_size {}: does not divide both the {} ranks that share a sequence and the model's "
      "{} attention heads: use one of {}",
      options.ulysses_size, size, heads, fmt::join(divisors(std::gcd(size, heads)), ", "));
}

int64_t chosen_ulysses(int64_t size, int64_t heads, int64_t kv_heads, int64_t local_ranks) {
  int64_t best = 1;
  for (const int64_t degree : divisors(std::gcd(size, heads))) {
    if (degree <= kv_heads && local_ranks % degree == 0) best = degree;
  }
  return best;
}

}  // namespace

void check_heads(int64_t heads, int64_t degree) {
  if (heads % degree == 0) return;
  fail(
      "--sequence_parallel_size {}: does not divide the model's {} attention heads: use one of {}, "
      "or --sequence_parallel_type hybrid",
      degree, heads, fmt::join(divisors(heads), ", "));
}

SequenceDegrees sequence_degrees(const RankOptions& options, int64_t heads, int64_t kv_heads,
                                 int64_t local_ranks) {
  const int64_t size = options.sequence_parallel_size;
  if (options.sequence_parallel_type != SequenceParallelType::kHybrid) {
    if (options.ulysses_size != 0) {
      fail("--ulysses_size is of --sequence_parallel_type hybrid, and that is {}",
           word(options.sequence_parallel_type));
    }
    if (options.sequence_parallel_type == SequenceParallelType::kRing) return {.ring = size};
    check_heads(heads, size);
    return {.ulysses = size};
  }
  if (options.ulysses_size != 0) check_ulysses_size(options, heads);
  const int64_t ulysses = options.ulysses_size != 0
                              ? options.ulysses_size
                              : chosen_ulysses(size, heads, kv_heads, local_ranks);
  return {.ring = size / ulysses, .ulysses = ulysses};
}

}  // namespace trireme::config
