#include "engine/remote_adamw.h"

#include "ops/eight_bit.h"

namespace trireme::engine {

AdamWState AdamWState::narrow(int64_t first, int64_t count) const {
  const auto part = [](const at::Tensor& x, int64_t from, int64_t n) {
    return x.defined() ? x.narrow(0, from, n) : x;
  };
  const int64_t block = first / ops::kQuantBlock, blocks = ops::quant_blocks(count);
  return {part(master, first, count),
          {part(moments.first, first, count), part(moments.second, first, count),
           part(moments.first_absmax, block, blocks), part(moments.second_absmax, block, blocks)}};
}

}  // namespace trireme::engine
