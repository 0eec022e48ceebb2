// Choice: a warp a token, lane l holding experts l, l + 32, ... Sorting: a counting sort over tiles
// of pairs; a tile's counts, their sums over the tiles before, and then each pair's place, in which
// pairs of one expert keep their order.
#include <climits>
#include <type_traits>

#include "ops/device.cuh"

namespace trireme::ops::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

// One token's logits over a warp: kPer a lane, and their softmax's constants.
template <int kPer>
struct TokenLogits {
  float x[kPer];
  float max, sum;

  template <typename T>
  __device__ void read(const T* row, int experts, int lane) {
    max = -INFINITY;
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const int e = lane + i * kWarp;
      x[i] = e < experts ? to_float(row[e]) : -INFINITY;
      max = fmaxf(max, x[i]);
    }
    max = warp_max(max);
    sum = 0;
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      if (lane + i * kWarp < experts) sum += expf(x[i] - max);
    }
    sum = warp_sum(sum);
  }
  __device__ float probability(float logit) const { return expf(logit - max) / sum; }
};

// The larger logit wins, the lower expert at a tie. Written so that a NaN cannot lose every
// comparison: whatever the logits, a choice is an expert.
struct Choice {
  float logit = -INFINITY;
  int expert = INT_MAX;

  __device__ void meet(float other, int e) {
    if (other > logit || (e < expert && !(other < logit))) {
      logit = other;
      expert = e;
    }
  }
};

template <int kPer>
__device__ Choice best(const TokenLogits<kPer>& logits, unsigned taken, int experts, int lane) {
  Choice choice;
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const int e = lane + i * kWarp;
    if (e < experts && (taken >> i & 1) == 0) choice.meet(logits.x[i], e);
  }
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, choice.logit, offset);
    choice.meet(other, __shfl_xor_sync(kAllLanes, choice.expert, offset));
  }
  // NaNs could leave lanes of different opinion.
  choice.logit = __shfl_sync(kAllLanes, choice.logit, 0);
  choice.expert = __shfl_sync(kAllLanes, choice.expert, 0);
  return choice;
}

template <typename T, int kPer>
__global__ void __launch_bounds__(kThreads) route_kernel(Route p) {
  const int64_t token = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (token >= p.tokens) return;  // whole warps
  const int lane = threadIdx.x % kWarp, experts = static_cast<int>(p.experts);
  TokenLogits<kPer> logits;
  logits.read(static_cast<const T*>(p.logits) + token * p.experts, experts, lane);
  unsigned taken = 0;  // of this lane's kPer
  float weight = 0, total = 0;
  int expert = 0;  // lane j keeps the j-th choice
  for (int j = 0; j < p.choices; ++j) {
    const Choice choice = best(logits, taken, experts, lane);
    if (choice.expert % kWarp == lane) taken |= 1u << (choice.expert / kWarp);
    const float probability = logits.probability(choice.logit);
    total += probability;
    if (lane == j) {
      weight = probability;
      expert = choice.expert;
    }
  }
  if (lane >= p.choices) return;
  if (p.normalise) weight /= total;
  p.weight[token * p.choices + lane] = rounded<T>(weight);
  p.expert[token * p.choices + lane] = expert;
}

// counts[e, tile].
__global__ void __launch_bounds__(kThreads) count_kernel(SortByExpert p) {
  __shared__ int32_t counts[kMaxExperts];
  for (int e = threadIdx.x; e < p.experts; e += kThreads) counts[e] = 0;
  __syncthreads();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kRoutingTile;
  for (int i = threadIdx.x; i < kRoutingTile; i += kThreads) {
    if (first + i < p.pairs) atomicAdd(&counts[p.expert[first + i]], 1);  // integers: no order
  }
  __syncthreads();
  for (int e = threadIdx.x; e < p.experts; e += kThreads) {
    p.counts[static_cast<int64_t>(e) * gridDim.x + blockIdx.x] = counts[e];
  }
}

__device__ inline int inclusive_scan(int x) {
#pragma unroll
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const int other = __shfl_up_sync(kAllLanes, x, offset);
    if (threadIdx.x % kWarp >= offset) x += other;
  }
  return x;
}

// A block an expert: its counts become the sums over the tiles before.
__global__ void __launch_bounds__(kThreads) tiles_kernel(SortByExpert p, int64_t tiles) {
  __shared__ int32_t warps[kWarps];
  int32_t* counts = p.counts + blockIdx.x * tiles;
  int32_t before = 0;
  for (int64_t start = 0; start < tiles; start += kThreads) {
    const int64_t t = start + threadIdx.x;
    const int32_t own = t < tiles ? counts[t] : 0;
    int32_t sum = inclusive_scan(own);
    if (threadIdx.x % kWarp == kWarp - 1) warps[threadIdx.x / kWarp] = sum;
    __syncthreads();
    int32_t all = 0;
    for (int w = 0; w < kWarps; ++w) {
      if (w < threadIdx.x / kWarp) sum += warps[w];
      all += warps[w];
    }
    if (t < tiles) counts[t] = before + sum - own;
    before += all;
    __syncthreads();
  }
  if (threadIdx.x == 0) p.totals[blockIdx.x] = before;
}

__global__ void ends_kernel(SortByExpert p) {
  __shared__ int32_t warps[kMaxExperts / kWarp];
  int32_t sum = inclusive_scan(threadIdx.x < p.experts ? p.totals[threadIdx.x] : 0);
  if (threadIdx.x % kWarp == kWarp - 1) warps[threadIdx.x / kWarp] = sum;
  __syncthreads();
  for (int w = 0; w < threadIdx.x / kWarp; ++w) sum += warps[w];
  if (threadIdx.x < p.experts) p.ends[threadIdx.x] = sum;
}

// A warp's part of a tile is kRounds times 32 pairs in order.
constexpr int kRounds = kRoutingTile / kThreads;

__global__ void __launch_bounds__(kThreads) place_kernel(SortByExpert p) {
  __shared__ int32_t counts[kWarps][kMaxExperts];
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  for (int e = lane; e < p.experts; e += kWarp) counts[warp][e] = 0;
  __syncwarp();
  const int64_t first =
      static_cast<int64_t>(blockIdx.x) * kRoutingTile + warp * kRounds * kWarp + lane;
  int32_t expert[kRounds], place[kRounds];  // place: among the warp's pairs of the expert
#pragma unroll
  for (int i = 0; i < kRounds; ++i) {
    const int64_t pair = first + i * kWarp;
    expert[i] = pair < p.pairs ? p.expert[pair] : -1;
    const unsigned same = __match_any_sync(kAllLanes, expert[i]);
    const int before = expert[i] < 0 ? 0 : counts[warp][expert[i]];
    place[i] = before + __popc(same & ((1u << lane) - 1));
    __syncwarp();
    if (expert[i] >= 0 && (same >> lane) == 1) counts[warp][expert[i]] = place[i] + 1;  // the last
    __syncwarp();
  }
  __syncthreads();
  // The warps' counts become the rows of their first pairs.
  for (int e = threadIdx.x; e < p.experts; e += kThreads) {
    int32_t row =
        (e == 0 ? 0 : p.ends[e - 1]) + p.counts[static_cast<int64_t>(e) * gridDim.x + blockIdx.x];
    for (int w = 0; w < kWarps; ++w) {
      const int32_t count = counts[w][e];
      counts[w][e] = row;
      row += count;
    }
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kRounds; ++i) {
    if (expert[i] < 0) continue;
    const int64_t pair = first + i * kWarp;
    const int32_t row = counts[warp][expert[i]] + place[i];
    p.rows[pair] = row;
    p.tokens[row] = static_cast<int32_t>(pair / p.choices);
  }
}

__global__ void __launch_bounds__(kThreads)
    scatter_kernel(const float* x, const int32_t* rows, int64_t n, float* out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n) out[rows[i]] = x[i];
}

// d loss / d logits = p (d - sum d p), d being zero but for the chosen; renormalised weights w = p
// / t, t their sum, first give d = (dw - sum dw w) / t. Lane j has the j-th choice's numbers. A
// gradient at every probability is added to d.
template <typename T, int kPer>
__global__ void __launch_bounds__(kThreads) router_backward_kernel(RouterBackward p) {
  const int64_t token = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (token >= p.tokens) return;
  const int lane = threadIdx.x % kWarp, experts = static_cast<int>(p.experts);
  const T* row = static_cast<const T*>(p.logits) + token * p.experts;
  TokenLogits<kPer> logits;
  logits.read(row, experts, lane);
  const bool chosen = lane < p.choices;
  const int64_t pair = token * p.choices + lane;
  const int expert = chosen ? p.expert[pair] : -1;
  const float probability = chosen ? logits.probability(to_float(row[expert])) : 0.0f;
  float d = chosen ? p.dweight[p.rows[pair]] : 0.0f;
  if (p.normalise) {
    const float total = warp_sum(probability);
    const float dot = warp_sum(d * probability) / total;
    if (chosen) d = (d - dot) / total;
  }
  const float mean = warp_sum(d * probability);
  float out[kPer];
#pragma unroll
  for (int i = 0; i < kPer; ++i) out[i] = -mean;
  for (int j = 0; j < p.choices; ++j) {
    const int e = __shfl_sync(kAllLanes, expert, j);
    const float dj = __shfl_sync(kAllLanes, d, j);
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      if (e == lane + i * kWarp) out[i] += dj;
    }
  }
  if (p.dprobability != nullptr && token < p.dprobability_tokens) {  // whole warps
    float own[kPer], dot = 0;
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const int e = lane + i * kWarp;
      own[i] = e < experts ? p.dprobability[e] : 0.0f;
      if (e < experts) dot += own[i] * logits.probability(logits.x[i]);
    }
    dot = warp_sum(dot);
#pragma unroll
    for (int i = 0; i < kPer; ++i) out[i] += own[i] - dot;
  }
  T* to = static_cast<T*>(p.dlogits) + token * p.experts;
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const int e = lane + i * kWarp;
    if (e < experts) to[e] = from_float<T>(logits.probability(logits.x[i]) * out[i]);
  }
}

// run(kPer) for the least number of logits a lane that holds all experts.
template <typename Run>
void for_experts(int64_t experts, const Run& run) {
  const int64_t per = divide_up(experts, kWarp);
  if (per <= 1) return run(std::integral_constant<int, 1>{});
  if (per <= 2) return run(std::integral_constant<int, 2>{});
  if (per <= 4) return run(std::integral_constant<int, 4>{});
  if (per <= 8) return run(std::integral_constant<int, 8>{});
  run(std::integral_constant<int, 16>{});
}

template <typename T>
void launch(const Route& p) {
  for_experts(p.experts, [&](auto per) {
    route_kernel<T, decltype(per)::value>
        <<<divide_up(p.tokens, kWarps), kThreads, 0, current_stream()>>>(p);
  });
}

template <typename T>
void launch(const RouterBackward& p) {
  for_experts(p.experts, [&](auto per) {
    router_backward_kernel<T, decltype(per)::value>
        <<<divide_up(p.tokens, kWarps), kThreads, 0, current_stream()>>>(p);
  });
}

}  // namespace

void route(const Route& p) {
  p.dtype == Dtype::kFloat ? launch<float>(p) : launch<bf16>(p);
  TRIREME_CHECK_LAUNCH();
}

void router_backward(const RouterBackward& p) {
  p.dtype == Dtype::kFloat ? launch<float>(p) : launch<bf16>(p);
  TRIREME_CHECK_LAUNCH();
}

void sort_by_expert(const SortByExpert& p) {
  const int64_t tiles = divide_up(p.pairs, kRoutingTile);
  const cudaStream_t stream = current_stream();
  count_kernel<<<tiles, kThreads, 0, stream>>>(p);
  TRIREME_CHECK_LAUNCH();
  tiles_kernel<<<p.experts, kThreads, 0, stream>>>(p, tiles);
  TRIREME_CHECK_LAUNCH();
  ends_kernel<<<1, kMaxExperts, 0, stream>>>(p);
  TRIREME_CHECK_LAUNCH();
  place_kernel<<<tiles, kThreads, 0, stream>>>(p);
  TRIREME_CHECK_LAUNCH();
}

void scatter_weights(const float* x, const int32_t* rows, int64_t n, float* out) {
  scatter_kernel<<<divide_up(n, kThreads), kThreads, 0, current_stream()>>>(x, rows, n, out);
  TRIREME_CHECK_LAUNCH();
}

}  // namespace trireme::ops::cuda
