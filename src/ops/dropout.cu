#include "ops/device.cuh"
#include "ops/dropout_mask.h"

namespace trireme::ops::cuda {
namespace {

constexpr int kThreads = 256;

template <typename T, int N, bool kAdd>
__global__ void __launch_bounds__(kThreads) dropout_kernel(Dropout p) {
  const int64_t at = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
  if (at >= p.numel) return;
  const Pack<T, N> x = load<T, N>(static_cast<const T*>(p.x) + at);
  T* to = static_cast<T*>(p.y) + at;
  Pack<T, N> y;
  if constexpr (kAdd) y = load<T, N>(to);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const float kept = dropout_keeps(p.seed, at + i, p.threshold) ? x[i] * p.scale : 0.0f;
    y.set(i, kAdd ? y[i] + kept : kept);
  }
  store(to, y);
}

template <typename T, int N>
void launch(const Dropout& p) {
  const auto kernel = p.add ? dropout_kernel<T, N, true> : dropout_kernel<T, N, false>;
  kernel<<<divide_up(p.numel, kThreads * N), kThreads, 0, current_stream()>>>(p);
}

template <typename T>
void launch(const Dropout& p) {
  vectorises<T>({p.x, p.y}, {p.numel}) ? launch<T, kPackOf<T>>(p) : launch<T, 1>(p);
}

}  // namespace

void dropout(const Dropout& p) {
  p.dtype == Dtype::kFloat ? launch<float>(p) : launch<bf16>(p);
  TRIREME_CHECK_LAUNCH();
}

}  // namespace trireme::ops::cuda
