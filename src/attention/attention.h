// Causal self-attention over packed documents, with a hand-written backward. Implementations differ
// in where keys and values are (this device, a cache, other ranks); layers know only this
// interface.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace trireme::attention {

// out [S,H,D] in q's dtype, lse [H,S] fp32 (natural log of the softmax denominator).
struct AttentionOutput {
  at::Tensor out;
  at::Tensor lse;
};

struct AttentionGradients {
  at::Tensor dq;  // [S,H,D]
  at::Tensor dk;  // [S,K,D]
  at::Tensor dv;  // [S,K,D]
};

class Attention {
 public:
  virtual ~Attention() = default;
  // q [S,H,D], k and v [S,K,D], K divides H.
  virtual AttentionOutput forward(const at::Tensor& q, const at::Tensor& k,
                                  const at::Tensor& v) = 0;
  virtual AttentionGradients backward(const at::Tensor& dout, const at::Tensor& q,
                                      const at::Tensor& k, const at::Tensor& v,
                                      const AttentionOutput& forward) = 0;
};

// Documents [starts[i], starts[i+1]) side by side on this device, masked from each other. No
// host-device synchronisation: the offsets are given on the host, and on the device where a kernel
// wants them.
class LocalAttention : public Attention {
 public:
  // starts: n + 1 host offsets 0..S. They are copied to `device`.
  LocalAttention(std::vector<int64_t> starts, const at::Device& device, double scale);
  AttentionOutput forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) override;
  AttentionGradients backward(const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                              const at::Tensor& v, const AttentionOutput& forward) override;

 private:
  std::vector<int64_t> starts_;
  int64_t longest_ = 0;
  bool dense_ = false;        // one document, by the dense kernel
  at::Tensor device_starts_;  // int32 [n+1], CUDA without dense_ only
  double scale_;
};

}  // namespace trireme::attention
