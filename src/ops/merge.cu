// A block has some neighbouring queries of one head; neighbouring blocks have the other heads of
// the same queries, which lie beside each other in memory. threadIdx.x goes along the head, within
// a warp; threadIdx.y over queries.
#include "ops/device.cuh"

namespace trireme::ops::cuda {
namespace {

constexpr int kThreads = 256;

__device__ inline bool covers(const AttentionPart& part, int64_t row) {
  return part.first <= row && row < part.first + part.rows;
}
__device__ inline float lse_of(const AttentionPart& part, int64_t head, int64_t row) {
  return part.lse[head * part.lse_stride + row - part.first];
}

// What a query saw in all: the largest of its parts' log-sum-exps, and the sum of all parts'
// exponentials over that of the largest.
struct Total {
  float most, sum;

  __device__ float weight(float lse) const { return expf(lse - most) * __frcp_rn(sum); }
  __device__ float lse() const { return most + logf(sum); }
};

__device__ inline Total total(const MergeParts& p, float own, int64_t head, int64_t row) {
  Total t{own, 1.0f};
  for (int i = 0; i < p.count; ++i) {
    if (!covers(p.parts[i], row)) continue;
    const float lse = lse_of(p.parts[i], head, row), most = fmaxf(t.most, lse);
    t = {most, t.sum * expf(t.most - most) + expf(lse - most)};
  }
  return t;
}

__device__ inline bool covered(const MergeParts& p, int64_t row) {
  bool found = false;
  for (int i = 0; i < p.count; ++i) found |= covers(p.parts[i], row);
  return found;
}

template <typename T, typename From, typename To, int N, bool kWeighted>
__global__ void __launch_bounds__(kThreads) merge_kernel(const __grid_constant__ MergeParts p) {
  const auto heads = static_cast<unsigned>(p.heads);
  const int64_t head = blockIdx.x % heads;
  const int64_t row = static_cast<int64_t>(blockIdx.x / heads) * blockDim.y + threadIdx.y;
  const bool valid = row < p.rows;
  float* const lse = kWeighted ? p.lse + head * p.rows + row : nullptr;
  Total all{};
  float weight = 1.0f;
  if constexpr (kWeighted) {
    if (valid) {
      const float own = *lse;
      all = total(p, own, head, row);
      weight = all.weight(own);
    }
    __syncwarp();  // all threads of the query have read what one of them overwrites
  }
  if (!valid || (p.from == p.to && !covered(p, row))) return;
  if (kWeighted && threadIdx.x == 0) *lse = all.lse();
  const int64_t at = (row * p.heads + head) * p.dim;
  for (int64_t c = threadIdx.x * N; c < p.dim; c += blockDim.x * N) {
    const Pack<From, N> from = load<From, N>(static_cast<const From*>(p.from) + at + c);
    float sum[N];
#pragma unroll
    for (int i = 0; i < N; ++i) sum[i] = weight * from[i];
#pragma unroll 2
    for (int k = 0; k < p.count; ++k) {
      const AttentionPart& part = p.parts[k];
      if (!covers(part, row)) continue;
      const int64_t of_part = ((row - part.first) * p.heads + head) * p.dim + c;
      const Pack<T, N> x = load<T, N>(static_cast<const T*>(part.out) + of_part);
      const float of = kWeighted ? all.weight(lse_of(part, head, row)) : 1.0f;
#pragma unroll
      for (int i = 0; i < N; ++i) sum[i] += of * x[i];
    }
    Pack<To, N> to;
#pragma unroll
    for (int i = 0; i < N; ++i) to.set(i, sum[i]);
    store(static_cast<To*>(p.to) + at + c, to);
  }
}

template <typename T, typename From, typename To, int N>
void merge(const MergeParts& p) {
  unsigned x = 1;
  while (x < kWarp && static_cast<int64_t>(x) * N < p.dim) x *= 2;
  const dim3 threads(x, kThreads / x);
  const auto kernel =
      p.lse != nullptr ? merge_kernel<T, From, To, N, true> : merge_kernel<T, From, To, N, false>;
  kernel<<<p.heads * divide_up(p.rows, threads.y), threads, 0, current_stream()>>>(p);
}

template <typename T, typename From, typename To>
void merge(const MergeParts& p) {
  bool packs = vectorises<T>({p.from, p.to}, {p.dim});
  for (int i = 0; i < p.count; ++i) packs = packs && vectorises<T>({p.parts[i].out}, {});
  packs ? merge<T, From, To, kPackOf<T>>(p) : merge<T, From, To, 1>(p);
}

template <typename From>
void merge_bf16(const MergeParts& p) {
  p.to_dtype == Dtype::kFloat ? merge<bf16, From, float>(p) : merge<bf16, From, bf16>(p);
}

}  // namespace

void merge_parts(const MergeParts& p) {
  if (p.part_dtype == Dtype::kFloat) {
    if (p.from_dtype != Dtype::kFloat || p.to_dtype != Dtype::kFloat) {
      refuse_launch("parts in fp32 are merged in fp32");
    }
    merge<float, float, float>(p);
  } else {
    p.from_dtype == Dtype::kFloat ? merge_bf16<float>(p) : merge_bf16<bf16>(p);
  }
  TRIREME_CHECK_LAUNCH();
}

}  // namespace trireme::ops::cuda
