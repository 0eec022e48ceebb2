#include "ops/dropout.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty_like.h>

#include "ops/dropout_mask.h"
#include "ops/entry.h"

namespace trireme::ops {
namespace {

struct Mask {
  uint64_t seed;
  uint32_t threshold;
  float scale;
};

Mask mask_of(double p, uint64_t seed) {
  TRIREME_CHECK(p >= 0 && p < 1, "dropout {}", p);
  return {seed, dropout_threshold(p), static_cast<float>(1 / (1 - p))};
}

void run_cpu(const at::Tensor& x, at::Tensor& y, const Mask& mask, bool add) {
  const float* in = x.const_data_ptr<float>();
  float* out = y.mutable_data_ptr<float>();
  at::parallel_for(0, x.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const bool keeps = dropout_keeps(mask.seed, static_cast<uint64_t>(i), mask.threshold);
      out[i] = (add ? out[i] : 0.0f) + (keeps ? in[i] * mask.scale : 0.0f);
    }
  });
}

void run_cuda(const at::Tensor& x, at::Tensor& y, const Mask& mask, bool add) {
  cuda::dropout({.dtype = dtype_of(x),
                 .x = x.const_data_ptr(),
                 .y = y.mutable_data_ptr(),
                 .add = add,
                 .numel = x.numel(),
                 .seed = mask.seed,
                 .threshold = mask.threshold,
                 .scale = mask.scale});
}

void run(const at::Tensor& x, at::Tensor& y, const Mask& mask, bool add) {
  TRIREME_CHECK(x.is_contiguous() && y.is_contiguous() && x.sizes() == y.sizes() &&
                x.scalar_type() == y.scalar_type());
  if (x.numel() != 0) (on_cuda(x) ? run_cuda : run_cpu)(x, y, mask, add);
}

}  // namespace

uint64_t dropout_seed(uint64_t seed, int64_t first) {
  return seed + static_cast<uint64_t>(first) * kCounterStride;
}

at::Tensor dropout(const at::Tensor& x, double p, uint64_t seed) {
  at::Tensor y = at::empty_like(x);
  run(x, y, mask_of(p, seed), /*add=*/false);
  return y;
}

void dropout_add_(at::Tensor& dx, const at::Tensor& du, double p, uint64_t seed) {
  run(du, dx, mask_of(p, seed), /*add=*/true);
}

}  // namespace trireme::ops
