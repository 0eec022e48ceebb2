// AdamW on weights of the device whose state (master weights and moments) is on the host.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "ops/adamw.h"

namespace trireme::state {

// Of a flat buffer.
struct AdamWState {
  at::Tensor master;     // fp32, or undefined: the weights themselves are updated
  ops::Moments moments;  // equal elements

  // Of the elements [first, first + count); `first` is a multiple of kQuantBlock.
  AdamWState narrow(int64_t first, int64_t count) const;
  // ops::adamw_ on the master and with it the weight, or on the weight alone; all in one place.
  void update(const at::Tensor& weight, const at::Tensor& grad, const ops::AdamWStep& step,
              const at::Tensor& divisor) const;
};

class RemoteAdamW {
 public:
  virtual ~RemoteAdamW() = default;
  // ops::adamw_ on weight and grad, flat, with the state of as many elements. Asynchronous, in the
  // order of the current stream, which may overwrite the gradient afterwards. `step.first` is
  // element 0's.
  virtual void update(const AdamWState& state, const at::Tensor& weight, const at::Tensor& grad,
                      const ops::AdamWStep& step, const at::Tensor& divisor) = 0;
  // What the current stream is given from now on comes after all updates.
  virtual void settle() = 0;
};

}  // namespace trireme::state
