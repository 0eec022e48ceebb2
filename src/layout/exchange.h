// What ranks that share a sequence exchange for attention: which heads a rank has and in which
// groups they travel (Ulysses), how many blocks wait to be summed (ring), and the bytes that either
// holds at once.
#pragma once

#include <cstdint>

namespace trireme::layout {

// How a rank's heads are exchanged and attended to.
struct HeadGroups {
  int64_t repeats;  // copies of each key head
  int64_t keys;     // of a rank, with copies
  int64_t queries;  // of a rank
  int64_t group;    // query heads at a time

  int64_t count() const { return queries / group; }
  // Whether groups share key heads, whose gradients are then sums over groups.
  bool shares_keys() const { return group * keys < queries; }
};

// The groups of H query and K key heads over P ranks. A rank's query heads fall into runs that read
// the same key head. All runs have equal length if that divides both a rank's heads and the heads
// of one key; each run has a copy of its key head.
//
// A group is the largest number of heads with
//     heads * bytes_of_a_head <= kBusyBytes,
// so that the exchange of one group overlaps with the attention of another. It is at least a run,
// since the keys' gradients would become sums over groups otherwise. It has no more than
// `most_bytes`, but at least one head.
HeadGroups head_groups(int64_t heads, int64_t kv_heads, int64_t ranks, int64_t bytes_of_a_head,
                       int64_t most_bytes);

// Bytes of a group that keep a kernel and a link busy.
inline constexpr int64_t kBusyBytes = int64_t{32} << 20;
// The most bytes that Ulysses holds at a time of queries, of outputs and of their gradients.
inline constexpr int64_t kHeadGroupBytes = int64_t{256} << 20;

// The most bytes that a rank's exchanges hold at once, of a sequence of `rows` rows over P ranks.
int64_t exchange_bytes(int64_t heads, int64_t kv_heads, int64_t head_dim, int64_t ranks,
                       int64_t rows, int64_t bytes_of_a_number);

// The most blocks of all queries whose outputs (or gradients of queries) a ring's call holds before
// it adds them to their sum. More in forward, where kernels need no memory beside their outputs.
inline constexpr int64_t kForwardBlocks = 4, kBackwardBlocks = 2;

// Bytes per row that a ring's forward holds beside the results, with numbers of `element` bytes:
// keys and values twice, the blocks, the fp32 sum and its first term.
constexpr int64_t ring_forward_bytes(int64_t q_dim, int64_t kv_dim, int64_t element) {
  const int64_t sum = element == 4 ? 0 : (4 + element) * q_dim;
  return element * (4 * kv_dim + kForwardBlocks * q_dim) + sum;
}
// The same for its backward, with gradients of keys and values: one block's, and two fp32 copies
// that travel. The first term of the queries' gradient is released before the kernels use memory of
// their own.
constexpr int64_t ring_backward_bytes(int64_t q_dim, int64_t kv_dim, int64_t element) {
  return element * (6 * kv_dim + kBackwardBlocks * q_dim) + 4 * (q_dim + 4 * kv_dim);
}

}  // namespace trireme::layout
