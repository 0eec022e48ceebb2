// For *_gpu_test.cc: the same numbers on both sides. A kernel is compared with its CPU twin in
// fp32, fed with inputs that are already rounded to the kernel's dtype.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <tuple>

#include "ops/testing.h"

namespace trireme::ops {

// ||a - b|| / ||b|| that is allowed. bf16 outputs are rounded once or twice: 2^-9 relative at most,
// about 1.7e-3 in the mean of squares.
inline double tolerance(at::ScalarType dtype) { return dtype == at::kFloat ? 1e-5 : 4e-3; }

// One tensor on the device in `dtype` and its twin on the host in fp32, of equal value.
struct Both {
  at::Tensor device, host;

  Both() = default;
  Both(const at::Tensor& x, at::ScalarType dtype)
      : device(x.to(at::kCUDA, dtype)), host(x.to(dtype).to(at::kFloat)) {}

  Both narrow(int64_t dim, int64_t first, int64_t count) const {
    Both part;
    part.device = device.narrow(dim, first, count);
    part.host = host.narrow(dim, first, count);
    return part;
  }
  Both clone() const {
    Both copy;
    copy.device = device.clone();
    copy.host = host.clone();
    return copy;
  }
};

inline Both random_both(at::IntArrayRef shape, uint64_t seed, at::ScalarType dtype) {
  return Both(random_tensor(shape, seed), dtype);
}

inline double gpu_error(const at::Tensor& device, const at::Tensor& host) {
  return relative_error(device.to(at::kCPU), host);
}

inline bool same_bits(const at::Tensor& a, const at::Tensor& b) { return a.equal(b); }

// (dtype, S, C) or the like.
using Rows = std::tuple<at::ScalarType, int64_t, int64_t>;

}  // namespace trireme::ops
