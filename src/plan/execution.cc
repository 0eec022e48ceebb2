#include "plan/execution.h"

#include <algorithm>
#include <bit>

namespace trireme::plan {

int64_t bucket(int64_t tokens) {
  const auto size = static_cast<uint64_t>(std::max<int64_t>(tokens, 1));
  const auto step = static_cast<int64_t>(std::max<uint64_t>(64, std::bit_floor(size) / 16));
  return (tokens + step - 1) / step * step;
}

}  // namespace trireme::plan
