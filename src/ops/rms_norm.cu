// A block a row (forward) or a fixed set of rows (backward). The row stays in registers between the
// sum and the write, so that memory is passed once.
#include "ops/device.cuh"

namespace trireme::ops::cuda {
namespace {

constexpr int kForwardThreads = 256, kBackwardThreads = 512, kMostThreads = 512;
constexpr int kMostPacks = 8;

// Packs of a row that thread t owns: t, t + threads, ... below width / N.
template <typename T, int N, int kPacks>
__global__ void __launch_bounds__(kMostThreads)
    forward_kernel(const T* x, int64_t x_stride, const T* w, T* y, int width, float eps) {
  __shared__ float shared[kWarp];
  const T* row = x + blockIdx.x * x_stride;
  Pack<T, N> held[kPacks];
  float sum = 0;
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const int c = (threadIdx.x + p * blockDim.x) * N;
    if (c < width) held[p] = load<T, N>(row + c);
  }
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const int c = (threadIdx.x + p * blockDim.x) * N;
    if (c >= width) continue;
#pragma unroll
    for (int i = 0; i < N; ++i) sum += held[p][i] * held[p][i];
  }
  const float rstd = rsqrtf(row_sum(sum, shared) / static_cast<float>(width) + eps);
  T* out = y + static_cast<int64_t>(blockIdx.x) * width;
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const int c = (threadIdx.x + p * blockDim.x) * N;
    if (c >= width) continue;
    const Pack<T, N> scale = load<T, N>(w + c);
#pragma unroll
    for (int i = 0; i < N; ++i) held[p].set(i, held[p][i] * rstd * scale[i]);
    store(out + c, held[p]);
  }
}

// What a thread holds of a row in backward.
template <typename T, int N, int kPacks>
struct BackwardRow {
  Pack<T, N> dy[kPacks], x[kPacks], dx[kPacks];

  __device__ void read(const RmsNormBackward& p, int64_t r) {
    const T* dy_row = static_cast<const T*>(p.dy) + r * p.dy_stride;
    const T* x_row = static_cast<const T*>(p.x) + r * p.x_stride;
    const T* dx_row = static_cast<const T*>(p.dx) + r * p.dx_stride;
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      const int c = (threadIdx.x + k * blockDim.x) * N;
      if (c >= static_cast<int>(p.width)) continue;
      x[k] = load<T, N>(x_row + c);
      dy[k] = load<T, N>(dy_row + c);
      dx[k] = load<T, N>(dx_row + c);
    }
  }
};

// With r = rstd: dx += dy w r - x (sum dy w x) r^3 / width; dw = sum over rows of dy x r. Block b
// takes rows b, b + blocks, ...; where registers allow, the next one is on its way while the sums
// of this one meet.
template <typename T, int N, int kPacks, bool kWeightGrad>
__global__ void __launch_bounds__(kBackwardThreads, kPacks == 1 ? 2 : 1)
    backward_kernel(RmsNormBackward p) {
  constexpr bool kAhead = kPacks <= 2;
  __shared__ float2 shared[kWarp];
  const int width = static_cast<int>(p.width);
  const float inverse_width = 1.0f / static_cast<float>(width);
  const T* w = static_cast<const T*>(p.w);
  Pack<T, N> weight[kPacks];
  float dw[kWeightGrad ? kPacks : 1][N] = {};
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    const int c = (threadIdx.x + k * blockDim.x) * N;
    if (c < width) weight[k] = load<T, N>(w + c);
  }
  BackwardRow<T, N, kPacks> next;
  if constexpr (kAhead) {
    if (blockIdx.x < p.rows) next.read(p, blockIdx.x);
  }
  for (int64_t r = blockIdx.x; r < p.rows; r += gridDim.x) {
    BackwardRow<T, N, kPacks> row;
    if constexpr (kAhead) {
      row = next;
      if (r + gridDim.x < p.rows) next.read(p, r + gridDim.x);
    } else {
      row.read(p, r);
    }
    float squares = 0, dot = 0;
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      if ((threadIdx.x + k * blockDim.x) * N >= width) continue;
#pragma unroll
      for (int i = 0; i < N; ++i) {
        squares += row.x[k][i] * row.x[k][i];
        dot += row.dy[k][i] * weight[k][i] * row.x[k][i];
      }
    }
    row_sums(squares, dot, shared);
    const float rstd = rsqrtf(squares * inverse_width + p.eps);
    const float shift = dot * rstd * rstd * rstd * inverse_width;
    T* dx_row = static_cast<T*>(p.dx) + r * p.dx_stride;
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      const int c = (threadIdx.x + k * blockDim.x) * N;
      if (c >= width) continue;
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const float dy = row.dy[k][i], x = row.x[k][i];
        row.dx[k].set(i, row.dx[k][i] + (dy * weight[k][i] * rstd - x * shift));
        if constexpr (kWeightGrad) dw[k][i] += dy * x * rstd;
      }
      store(dx_row + c, row.dx[k]);
    }
  }
  if constexpr (kWeightGrad) {
    float* out = p.partial + static_cast<int64_t>(blockIdx.x) * width;
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      const int c = (threadIdx.x + k * blockDim.x) * N;
      if (c >= width) continue;
#pragma unroll
      for (int i = 0; i < N; ++i) out[c + i] = dw[k][i];
    }
  }
}

constexpr int kRowsAtOnce = 32;

// A warp's lanes are neighbouring columns; threadIdx.y takes rows y, y + 32, ...
__global__ void column_sums_kernel(AddColumnSums p) {
  __shared__ float shared[kRowsAtOnce][kWarp + 1];
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kWarp + threadIdx.x;
  float sum = 0;
  if (c < p.columns) {
#pragma unroll 4
    for (int64_t r = threadIdx.y; r < p.rows; r += kRowsAtOnce) {
      sum += p.partial[r * p.stride + c];
    }
  }
  shared[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || c >= p.columns) return;
  sum = 0;
  for (int y = 0; y < kRowsAtOnce; ++y) sum += shared[y][threadIdx.x];
  p.out[c] += sum;
}

// Threads and packs a thread for `units` packs a row.
struct Shape {
  int threads, packs;
};
Shape shape(int64_t units, int most) {
  for (int threads = kWarp; threads <= most; threads *= 2) {
    if (units <= threads) return {threads, 1};
  }
  for (int packs = 2; packs <= kMostPacks; packs *= 2) {
    if (units <= most * packs) return {most, packs};
  }
  refuse_launch("RMSNorm: the row does not fit into a block's registers");
}

template <typename T, int N>
void forward(const RmsNorm& p) {
  const int64_t units = divide_up(p.width, N);
  const auto [threads, packs] =
      shape(units, units <= kForwardThreads * kMostPacks ? kForwardThreads : kMostThreads);
  const auto run = [&](auto kernel) {
    kernel<<<p.rows, threads, 0, current_stream()>>>(
        static_cast<const T*>(p.x), p.x_stride, static_cast<const T*>(p.w), static_cast<T*>(p.y),
        static_cast<int>(p.width), p.eps);
  };
  if (packs == 1) return run(forward_kernel<T, N, 1>);
  if (packs == 2) return run(forward_kernel<T, N, 2>);
  if (packs == 4) return run(forward_kernel<T, N, 4>);
  run(forward_kernel<T, N, 8>);
}

template <typename T, int N, bool kWeightGrad>
void backward(const RmsNormBackward& p) {
  const auto [threads, packs] = shape(divide_up(p.width, N), kBackwardThreads);
  // A fixed number of them where each has a partial sum of dw, else as many as run at once.
  const int64_t most = kWeightGrad ? kNormPartials : kNormPartials * (kBackwardThreads / threads);
  const int64_t blocks = std::min(p.rows, most);
  const auto run = [&](auto kernel) { kernel<<<blocks, threads, 0, current_stream()>>>(p); };
  if (packs == 1) return run(backward_kernel<T, N, 1, kWeightGrad>);
  if (packs == 2) return run(backward_kernel<T, N, 2, kWeightGrad>);
  if (packs == 4) return run(backward_kernel<T, N, 4, kWeightGrad>);
  run(backward_kernel<T, N, 8, kWeightGrad>);
}

template <typename T, int N>
void backward(const RmsNormBackward& p) {
  return p.partial != nullptr ? backward<T, N, true>(p) : backward<T, N, false>(p);
}

template <typename T>
void forward(const RmsNorm& p) {
  if (vectorises<T>({p.x, p.w, p.y}, {p.width, p.x_stride})) return forward<T, kPackOf<T>>(p);
  forward<T, 1>(p);
}

template <typename T>
void backward(const RmsNormBackward& p) {
  const bool packs =
      vectorises<T>({p.dy, p.x, p.w, p.dx}, {p.width, p.dy_stride, p.x_stride, p.dx_stride});
  packs ? backward<T, kPackOf<T>>(p) : backward<T, 1>(p);
}

}  // namespace

void rms_norm(const RmsNorm& p) {
  p.dtype == Dtype::kFloat ? forward<float>(p) : forward<bf16>(p);
  TRIREME_CHECK_LAUNCH();
}

void rms_norm_backward(const RmsNormBackward& p) {
  p.dtype == Dtype::kFloat ? backward<float>(p) : backward<bf16>(p);
  TRIREME_CHECK_LAUNCH();
}

void add_column_sums(const AddColumnSums& p) {
  const dim3 threads(kWarp, kRowsAtOnce);
  column_sums_kernel<<<divide_up(p.columns, kWarp), threads, 0, current_stream()>>>(p);
  TRIREME_CHECK_LAUNCH();
}

}  // namespace trireme::ops::cuda
