#include "ops/device.cuh"

namespace trireme::ops::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPacks = 2;  // of a thread in flight

template <int N>
__global__ void __launch_bounds__(kThreads) adamw_kernel(AdamW p) {
  const float scale = static_cast<float>(1.0 / static_cast<double>(*p.divisor));
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads * kPacks * N + threadIdx.x * N;
  Pack<float, N> param[kPacks], grad[kPacks], m[kPacks], v[kPacks];
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    const int64_t at = first + k * kThreads * N;
    if (at >= p.numel) continue;
    param[k] = load<float, N>(p.param + at);
    grad[k] = load<float, N>(p.grad + at);
    m[k] = load<float, N>(p.m + at);
    v[k] = load<float, N>(p.v + at);
  }
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    const int64_t at = first + k * kThreads * N;
    if (at >= p.numel) continue;
    Pack<bf16, N> weight;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float g = grad[k].v[i] * scale;
      const float mean = m[k].v[i] * p.beta1 + g * p.one_minus_beta1;
      const float square = v[k].v[i] * p.beta2 + g * g * p.one_minus_beta2;
      const float x = param[k].v[i] * p.keep -
                      p.step_size * mean / (sqrtf(square) * p.root_correction + p.epsilon);
      m[k].v[i] = mean;
      v[k].v[i] = square;
      param[k].v[i] = x;
      weight.set(i, x);
    }
    store(p.m + at, m[k]);
    store(p.v + at, v[k]);
    store(p.param + at, param[k]);
    if (p.weight != nullptr) store(static_cast<bf16*>(p.weight) + at, weight);
  }
}

template <int N>
void launch(const AdamW& p) {
  const int64_t blocks = divide_up(p.numel, kThreads * kPacks * N);
  adamw_kernel<N><<<blocks, kThreads, 0, current_stream()>>>(p);
}

// Threads take packs of four a grid apart; the buffer's last 0..3 elements go to the first block.
template <int N>
__global__ void __launch_bounds__(kThreads)
    squares_kernel(const float* x, int64_t n, double* partial) {
  __shared__ double shared[kWarp];
  const int64_t whole = n / N * N, step = static_cast<int64_t>(gridDim.x) * kThreads * N;
  double sum = 0;
#pragma unroll 4
  for (int64_t at = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N; at < whole;
       at += step) {
    const Pack<float, N> pack = load<float, N>(x + at);
#pragma unroll
    for (int i = 0; i < N; ++i) sum += static_cast<double>(pack.v[i]) * pack.v[i];
  }
  if (blockIdx.x == 0 && threadIdx.x < n - whole) {
    const double tail = x[whole + threadIdx.x];
    sum += tail * tail;
  }
  sum = row_sum(sum, shared);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void partials_kernel(const double* partial, int64_t n, double* out) {
  __shared__ double shared[kWarp];
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) sum += partial[i];
  sum = row_sum(sum, shared);
  if (threadIdx.x == 0) *out = sum;
}

}  // namespace

void adamw(const AdamW& p) {
  // The weight's packs are of four bf16: 8 bytes, which 16 imply.
  vectorises<float>({p.param, p.grad, p.m, p.v, p.weight}, {p.numel}) ? launch<4>(p) : launch<1>(p);
  TRIREME_CHECK_LAUNCH();
}

void sum_of_squares(const float* x, int64_t n, double* partial, double* out) {
  const auto kernel = vectorises<float>({x}, {}) ? squares_kernel<4> : squares_kernel<1>;
  kernel<<<kSquarePartials, kThreads, 0, current_stream()>>>(x, n, partial);
  TRIREME_CHECK_LAUNCH();
  partials_kernel<<<1, kThreads, 0, current_stream()>>>(partial, kSquarePartials, out);
  TRIREME_CHECK_LAUNCH();
}

}  // namespace trireme::ops::cuda
