// Rows to the experts and back. threadIdx.x goes along a row, threadIdx.y over rows.
#include "ops/device.cuh"

namespace trireme::ops::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kAtOnce = 4;  // loads of a thread in flight

template <typename T, int N>
__global__ void __launch_bounds__(kThreads) gather_kernel(GatherRows p) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (r >= p.rows) return;
  const T* from = static_cast<const T*>(p.x) + p.tokens[r] * p.x_stride;
  T* to = static_cast<T*>(p.y) + r * p.width;
#pragma unroll 4
  for (int64_t c = threadIdx.x * N; c < p.width; c += blockDim.x * N) {
    store(to + c, load<T, N>(from + c));
  }
}

template <typename T, int N>
__global__ void __launch_bounds__(kThreads) combine_kernel(CombineRows p) {
  const int64_t s = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (s >= p.tokens) return;
  const int32_t* rows = p.rows + s * p.choices;
  const float* weight = p.weight == nullptr ? nullptr : p.weight + s * p.choices;
  const T* x = static_cast<const T*>(p.x);
  for (int64_t c = threadIdx.x * N; c < p.width; c += blockDim.x * N) {
    float sum[N] = {};
    for (int j = 0; j < p.choices; j += kAtOnce) {
      Pack<T, N> row[kAtOnce];
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        if (j + k < p.choices) row[k] = load<T, N>(x + rows[j + k] * p.width + c);
      }
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        if (j + k >= p.choices) continue;
        const float w = weight == nullptr ? 1.0f : weight[j + k];
#pragma unroll
        for (int i = 0; i < N; ++i) sum[i] += w * row[k][i];
      }
    }
    Pack<T, N> y;
    if (p.base != nullptr) {
      const Pack<T, N> base = load<T, N>(static_cast<const T*>(p.base) + s * p.base_stride + c);
#pragma unroll
      for (int i = 0; i < N; ++i) sum[i] += base[i];
    }
#pragma unroll
    for (int i = 0; i < N; ++i) y.set(i, sum[i]);
    store(static_cast<T*>(p.y) + s * p.width + c, y);
  }
}

dim3 threads_for(int64_t units) {
  unsigned x = kWarp;
  while (x < kThreads && static_cast<int64_t>(x) * 4 < units) x *= 2;
  return dim3(x, kThreads / x);
}

template <typename T, int N>
void launch(const GatherRows& p) {
  const dim3 threads = threads_for(divide_up(p.width, N));
  gather_kernel<T, N><<<divide_up(p.rows, threads.y), threads, 0, current_stream()>>>(p);
}

template <typename T, int N>
void launch(const CombineRows& p) {
  const dim3 threads = threads_for(divide_up(p.width, N));
  combine_kernel<T, N><<<divide_up(p.tokens, threads.y), threads, 0, current_stream()>>>(p);
}

template <typename T>
void launch(const GatherRows& p) {
  vectorises<T>({p.x, p.y}, {p.width, p.x_stride}) ? launch<T, kPackOf<T>>(p) : launch<T, 1>(p);
}

template <typename T>
void launch(const CombineRows& p) {
  const bool packs = vectorises<T>({p.x, p.base, p.y}, {p.width, p.base_stride});
  packs ? launch<T, kPackOf<T>>(p) : launch<T, 1>(p);
}

}  // namespace

void gather_rows(const GatherRows& p) {
  p.dtype == Dtype::kFloat ? launch<float>(p) : launch<bf16>(p);
  TRIREME_CHECK_LAUNCH();
}

void combine_rows(const CombineRows& p) {
  p.dtype == Dtype::kFloat ? launch<float>(p) : launch<bf16>(p);
  TRIREME_CHECK_LAUNCH();
}

}  // namespace trireme::ops::cuda
