#include "state/remote_adamw.h"

#include "ops/eight_bit.h"

namespace trireme::state {

AdamWState AdamWState::narrow(int64_t first, int64_t count) const {
  const auto part = [](const at::Tensor& x, int64_t from, int64_t n) {
    return x.defined() ? x.narrow(0, from, n) : x;
  };
  const int64_t block = first / kQuantBlock, blocks = quant_blocks(count);
  return {part(master, first, count),
          {part(moments.first, first, count), part(moments.second, first, count),
           part(moments.first_absmax, block, blocks), part(moments.second_absmax, block, blocks)}};
}

void AdamWState::update(const at::Tensor& weight, const at::Tensor& grad,
                        const ops::AdamWStep& step, const at::Tensor& divisor) const {
  const bool apart = master.defined();
  ops::adamw_(apart ? master : weight, grad, moments, step, divisor, apart ? weight : at::Tensor());
}

}  // namespace trireme::state
