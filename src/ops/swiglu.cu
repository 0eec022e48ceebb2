// threadIdx.x goes along a row, threadIdx.y over rows: a wide row has a block, several narrow ones
// share it.
#include "ops/device.cuh"

namespace trireme::ops::cuda {
namespace {

constexpr int kThreads = 256;

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + __expf(-x)); }

template <typename T, int N>
__global__ void __launch_bounds__(kThreads) forward_kernel(Swiglu p) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (r >= p.rows) return;
  const T* gate = static_cast<const T*>(p.gate_up) + r * 2 * p.width;
  const T* up = gate + p.width;
  T* a = static_cast<T*>(p.a) + r * p.a_stride;
#pragma unroll 2
  for (int64_t c = threadIdx.x * N; c < p.width; c += blockDim.x * N) {
    const Pack<T, N> g = load<T, N>(gate + c), u = load<T, N>(up + c);
    Pack<T, N> out;
#pragma unroll
    for (int i = 0; i < N; ++i) out.set(i, g[i] * sigmoid(g[i]) * u[i]);
    store(a + c, out);
  }
}

// With a weight the gradient that arrives is that of weight * a. The weight's own gradient is over
// `a` as rounded, which is what the forward multiplied.
template <typename T, int N, bool kWeighted>
__global__ void __launch_bounds__(kThreads) backward_kernel(SwigluBackward p) {
  __shared__ float shared[kWarp];
  const int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  const bool valid = r < p.rows;
  if (!kWeighted && !valid) return;
  const T* gate = static_cast<const T*>(p.gate_up) + r * 2 * p.width;
  const T* da = static_cast<const T*>(p.da) + r * p.width;
  T* dgate = static_cast<T*>(p.dgate_up) + r * 2 * p.width;
  T* a = p.a == nullptr ? nullptr : static_cast<T*>(p.a) + r * p.width;
  const float weight = kWeighted && valid ? p.weight[r] : 1.0f;
  float dot = 0;
#pragma unroll 2
  for (int64_t c = threadIdx.x * N; valid && c < p.width; c += blockDim.x * N) {
    const Pack<T, N> g = load<T, N>(gate + c), u = load<T, N>(gate + p.width + c),
                     d = load<T, N>(da + c);
    Pack<T, N> dg, du, forward;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float s = sigmoid(g[i]), silu = g[i] * s, grad = d[i] * weight;
      forward.set(i, silu * u[i]);
      du.set(i, grad * silu);
      dg.set(i, grad * u[i] * (s + silu * (1.0f - s)));
      if constexpr (kWeighted) dot += d[i] * forward[i];
    }
    store(dgate + c, dg);
    store(dgate + p.width + c, du);
    if (a != nullptr) store(a + c, forward);
  }
  if constexpr (kWeighted) {
    dot = row_sum(dot, shared);
    if (valid && threadIdx.x == 0) p.dweight[r] = dot;
  }
}

// About four packs a thread, whole warps.
dim3 threads_for(int64_t units) {
  unsigned x = kWarp;
  while (x < kThreads && static_cast<int64_t>(x) * 4 < units) x *= 2;
  return dim3(x, kThreads / x);
}

template <typename T, int N>
void forward(const Swiglu& p) {
  const dim3 threads = threads_for(divide_up(p.width, N));
  forward_kernel<T, N><<<divide_up(p.rows, threads.y), threads, 0, current_stream()>>>(p);
}

template <typename T, int N>
void backward(const SwigluBackward& p) {
  const dim3 threads = threads_for(divide_up(p.width, N));
  const auto kernel =
      p.weight != nullptr ? backward_kernel<T, N, true> : backward_kernel<T, N, false>;
  kernel<<<divide_up(p.rows, threads.y), threads, 0, current_stream()>>>(p);
}

template <typename T>
void forward(const Swiglu& p) {
  const bool packs = vectorises<T>({p.gate_up, p.a}, {p.width, p.a_stride});
  packs ? forward<T, kPackOf<T>>(p) : forward<T, 1>(p);
}

template <typename T>
void backward(const SwigluBackward& p) {
  const bool packs = vectorises<T>({p.da, p.gate_up, p.dgate_up, p.a}, {p.width});
  packs ? backward<T, kPackOf<T>>(p) : backward<T, 1>(p);
}

}  // namespace

void swiglu(const Swiglu& p) {
  p.dtype == Dtype::kFloat ? forward<float>(p) : forward<bf16>(p);
  TRIREME_CHECK_LAUNCH();
}

void swiglu_backward(const SwigluBackward& p) {
  p.dtype == Dtype::kFloat ? backward<float>(p) : backward<bf16>(p);
  TRIREME_CHECK_LAUNCH();
}

}  // namespace trireme::ops::cuda
