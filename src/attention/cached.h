// Attention of a generation step: new tokens against a cache of all earlier keys and values.
#pragma once

#include "attention/attention.h"

namespace trireme::attention {

// One layer's cache; forward appends. The first call (the prompt) is causal over itself; each later
// call is one token.
class CachedAttention : public Attention {
 public:
  // Room for `capacity` tokens is allocated at the first call.
  CachedAttention(int64_t capacity, double scale) : capacity_(capacity), scale_(scale) {}
  AttentionOutput forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) override;
  AttentionGradients backward(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                              const at::Tensor&, const AttentionOutput&) override;

 private:
  int64_t capacity_;
  double scale_;
  int64_t length_ = 0;
  at::Tensor keys_, values_;  // [capacity,K,D]
};

}  // namespace trireme::attention
