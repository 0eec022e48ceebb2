// A block a row, twice over the logits: first the maximum and the sum of exponentials together (the
// sum is rescaled when the maximum grows: Milakov and Gimelshein 2018), then the gradient.
#include "ops/device.cuh"

namespace trireme::ops::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kPacks = 4;  // of a thread in flight

// sum of e^(x - max) over what was seen.
struct Softmax {
  float max = -INFINITY, sum = 0;

  __device__ void merge(float other_max, float other_sum) {
    const float top = fmaxf(max, other_max);
    if (top == -INFINITY) return;  // nothing seen on either side, or only -inf
    sum = sum * __expf(max - top) + other_sum * __expf(other_max - top);
    max = top;
  }
};

template <int N>
__device__ void add(Softmax& seen, const Pack<float, N> (&x)[kPacks], int64_t first,
                    int64_t width) {
  float top = -INFINITY;
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    if (first + k * kThreads * N >= width) continue;
#pragma unroll
    for (int i = 0; i < N; ++i) top = fmaxf(top, x[k].v[i]);
  }
  if (top > seen.max) {
    seen.sum *= __expf(seen.max - top);
    seen.max = top;
  }
  if (seen.max == -INFINITY) return;
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    if (first + k * kThreads * N >= width) continue;
#pragma unroll
    for (int i = 0; i < N; ++i) seen.sum += __expf(x[k].v[i] - seen.max);
  }
}

template <int N>
__device__ void read(Pack<float, N> (&x)[kPacks], const float* row, int64_t first, int64_t width) {
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    const int64_t c = first + static_cast<int64_t>(k) * kThreads * N;
    if (c < width) x[k] = load<float, N>(row + c);
  }
}

// Over the block, in a fixed order; every thread gets it.
__device__ Softmax reduce(Softmax own) {
  __shared__ float2 shared[kThreads / kWarp];
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    own.merge(__shfl_xor_sync(kAllLanes, own.max, offset),
              __shfl_xor_sync(kAllLanes, own.sum, offset));
  }
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = make_float2(own.max, own.sum);
  __syncthreads();
  Softmax all;
  for (int w = 0; w < kThreads / kWarp; ++w) all.merge(shared[w].x, shared[w].y);
  return all;
}

template <int N>
__device__ Softmax row_softmax(const float* row, int64_t width) {
  Softmax own;
  for (int64_t c = threadIdx.x * N; c < width; c += kThreads * kPacks * N) {
    Pack<float, N> x[kPacks];
    read<N>(x, row, c, width);
    add<N>(own, x, c, width);
  }
  return reduce(own);
}

// The gradient in G lies over the row's own beginning: element j of 2 bytes covers the logit j/2.
// Each turn reads its chunk into registers, waits for all, then writes: what it overwrites is of
// this chunk or an earlier one.
template <typename G, int N>
__device__ void write_gradient(float* row, int64_t width, const Softmax& softmax, int64_t target,
                               float grad_scale) {
  G* grad = reinterpret_cast<G*>(row);
  const float scale = grad_scale / softmax.sum;
  for (int64_t start = 0; start < width; start += kThreads * kPacks * N) {
    const int64_t first = start + threadIdx.x * N;
    Pack<float, N> x[kPacks];
    read<N>(x, row, first, width);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      const int64_t c = first + static_cast<int64_t>(k) * kThreads * N;
      if (c >= width) continue;
      Pack<G, N> out;
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const float p = __expf(x[k].v[i] - softmax.max) * scale;
        out.set(i, c + i == target ? p - grad_scale : p);
      }
      store(grad + c, out);
    }
  }
}

template <typename G, int N>
__global__ void __launch_bounds__(kThreads) row_kernel(CrossEntropy p) {
  const int64_t r = blockIdx.x, target = p.targets[r];
  float* row = p.logits + r * p.width;
  const float at_target = row[target];  // before a gradient may cover it
  const Softmax softmax = row_softmax<N>(row, p.width);
  if (threadIdx.x == 0) p.losses[r] = logf(softmax.sum) + (softmax.max - at_target);
  if (p.backward) write_gradient<G, N>(row, p.width, softmax, target, p.grad_scale);
}

__global__ void add_sum_kernel(const float* x, int64_t n, float* out) {
  __shared__ float shared[kWarp];
  float sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) sum += x[i];
  sum = row_sum(sum, shared);
  if (threadIdx.x == 0) out[0] += sum;
}

template <typename G>
void launch(const CrossEntropy& p) {
  const auto kernel =
      vectorises<float>({p.logits}, {p.width}) ? row_kernel<G, 4> : row_kernel<G, 1>;
  kernel<<<p.rows, kThreads, 0, current_stream()>>>(p);
}

}  // namespace

void cross_entropy(const CrossEntropy& p) {
  p.dtype == Dtype::kFloat ? launch<float>(p) : launch<bf16>(p);
  TRIREME_CHECK_LAUNCH();
}

void add_sum(const float* x, int64_t n, float* out) {
  add_sum_kernel<<<1, kThreads, 0, current_stream()>>>(x, n, out);
  TRIREME_CHECK_LAUNCH();
}

}  // namespace trireme::ops::cuda
