// How a sequence is cut into the rows of ranks that share it: by flat token position, wherever
// documents begin and end.
#pragma once

#include <cstdint>
#include <vector>

namespace trireme::layout {

// Bounds 0, ..., `tokens` of `parts` runs of neighbours, of which the longest has at most one token
// more than the shortest.
std::vector<int64_t> even_cut(int64_t tokens, int64_t parts);

}  // namespace trireme::layout
