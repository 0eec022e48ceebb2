// AdamW on device weights whose state (master weights and moments) is on the host.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "ops/adamw.h"

namespace trireme::state {

// The optimizer state of a flat buffer.
struct AdamWState {
  at::Tensor master;     // fp32, or undefined: the weights themselves are updated
  ops::Moments moments;  // equal elements

  // The state of the elements [first, first + count); `first` is a multiple of kQuantBlock.
  AdamWState narrow(int64_t first, int64_t count) const;
  // ops::adamw_ on the master and the weight, or on the weight alone. All tensors are on the same
  // device.
  void update(const at::Tensor& weight, const at::Tensor& grad, const ops::AdamWStep& step,
              const at::Tensor& divisor) const;
};

class RemoteAdamW {
 public:
  virtual ~RemoteAdamW() = default;
  // ops::adamw_ on flat weight and grad, with the state of as many elements. `step.first` belongs
  // to element 0. Asynchronous, in the order of the current stream, which may overwrite the
  // gradient afterwards.
  virtual void update(const AdamWState& state, const at::Tensor& weight, const at::Tensor& grad,
                      const ops::AdamWStep& step, const at::Tensor& divisor) = 0;
  // Work that is queued on the current stream from now on runs after all updates.
  virtual void settle() = 0;
};

}  // namespace trireme::state
