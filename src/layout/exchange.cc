#include "layout/exchange.h"

#include <numeric>

#include "base/error.h"

namespace trireme::layout {

HeadGroups head_groups(int64_t heads, int64_t kv_heads, int64_t ranks, int64_t bytes_of_a_head,
                       int64_t most_bytes) {
  TRIREME_CHECK(heads % ranks == 0 && heads % kv_heads == 0);
  const int64_t of_key = heads / kv_heads, queries = heads / ranks;
  const int64_t run = std::gcd(queries, of_key);
  HeadGroups groups{of_key / run, queries / run, queries, 1};
  for (int64_t size = 2; size <= queries; ++size) {
    // A group is several whole runs or a part of one.
    const bool fits = queries % size == 0 && (size % run == 0 || run % size == 0);
    const int64_t bytes = size * bytes_of_a_head;
    if (fits && bytes <= most_bytes && (bytes <= kBusyBytes || size <= run)) groups.group = size;
  }
  return groups;
}

int64_t exchange_bytes(int64_t heads, int64_t kv_heads, int64_t head_dim, int64_t ranks,
                       int64_t rows, int64_t bytes_of_a_number) {
  if (ranks == 1) return 0;
  const int64_t head = rows * head_dim * bytes_of_a_number;
  const HeadGroups of = head_groups(heads, kv_heads, ranks, head, kHeadGroupBytes);
  // Backward holds, per group: output, its gradient and queries; the same of the next group, sent
  // and received; the gradient of queries, sent and received. For all groups it holds keys and
  // values, their gradients (fp32 where they are sums), and one of the two pairs on its way (sent
  // and received).
  const int64_t of_group = of.count() > 1 ? 3 + 6 + 2 : 6 + 2;
  const int64_t sums = of.shares_keys() ? 4 / bytes_of_a_number : 1;
  return head * (of_group * of.group + (2 + 2 * sums + 4) * of.keys);
}

}  // namespace trireme::layout
