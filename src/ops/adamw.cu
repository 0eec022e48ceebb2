#include "ops/device.cuh"
#include "ops/eight_bit.h"

namespace trireme::ops::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int kSpan = 256;  // elements of a warp in flight: a block of 8-bit state
static_assert(kSpan == kQuantBlock);

// Spans that a warp takes one after the other: several where the code books have to be fetched.
template <typename S>
constexpr int kRounds = sizeof(S) == 1 ? 8 : 1;

// Packs of a thread: a warp's first packs are neighbours, then its second ones.
template <int N>
constexpr int kPacks = kSpan / (kWarp * N);

struct CodeBooks {
  CodeBook<true> first;
  CodeBook<false> second;
};
__device__ const CodeBooks kCodeBooks{};
static_assert(sizeof(CodeBooks) % sizeof(int32_t) == 0);

template <int N, typename F>
__device__ void for_packs(int64_t at, int64_t numel, F&& body) {
#pragma unroll
  for (int k = 0; k < kPacks<N>; ++k, at += kWarp * N) {
    if (at < numel) body(k, at);
  }
}

template <typename T, int N>
__device__ void load_packs(const T* from, int64_t at, int64_t numel, Pack<T, N> (&to)[kPacks<N>]) {
  for_packs<N>(at, numel, [&](int k, int64_t i) { to[k] = load<T, N>(from + i); });
}

// `at` is a multiple of N, and the stream's first position too: four neighbours share a word.
template <int N>
__device__ void store_rounded(bf16* to, int64_t at, const float (&x)[N],
                              const RoundingStream& bits) {
  const uint64_t word = bits.word(at);
  Pack<bf16, N> pack;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const uint32_t random = part_of(word, N == 4 ? i : bits.part(at));
    pack.v[i] = __ushort_as_bfloat16(round_stochastically(__float_as_uint(x[i]), random));
  }
  store(to + at, pack);
}

// The compiler would store a pack of bf16 that was made of floats in four pieces.
template <int N>
__device__ void store_copy(bf16* to, const Pack<bf16, N>& x) {
  if constexpr (N == 4) {
    *reinterpret_cast<uint64_t*>(to) = *reinterpret_cast<const uint64_t*>(&x);
  } else {
    store(to, x);
  }
}

template <int N>
__device__ void store_floats(float* to, int64_t at, const float (&x)[N]) {
  Pack<float, N> pack;
#pragma unroll
  for (int i = 0; i < N; ++i) pack.v[i] = x[i];
  store(to + at, pack);
}

// A moment's buffer, kept as S: how a warp reads and writes the span that begins at element `at`
// of its lane.
template <typename S, bool kSigned>
struct Moment {
  S* data;
  float* absmax;
  RoundingStream bits;
  const CodeBook<kSigned>* book;

  // What lies past the end was never loaded and must not be a code: to the compiler such an index
  // is impossible, and the path to it ends in a trap.
  template <int N>
  __device__ void decode(const Pack<S, N> (&packs)[kPacks<N>], int64_t at, int64_t numel,
                         float (&x)[kPacks<N>][N]) const {
    float scale = 1;
    if constexpr (sizeof(S) == 1) scale = absmax[at / kSpan];
    for_packs<N>(at, numel, [&](int k, int64_t) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        if constexpr (sizeof(S) == 1) {
          x[k][i] = book->values[packs[k].v[i]] * scale;
        } else {
          x[k][i] = packs[k][i];
        }
      }
    });
  }

  template <int N>
  __device__ void encode(const float (&x)[kPacks<N>][N], int64_t at, int64_t numel) const {
    if constexpr (sizeof(S) == 1) {
      encode_block(x, at, numel);
    } else {
      for_packs<N>(at, numel, [&](int k, int64_t i) {
        if constexpr (sizeof(S) == 2) {
          store_rounded(data, i, x[k], bits);
        } else {
          store_floats(data, i, x[k]);
        }
      });
    }
  }

  // All lanes call it.
  template <int N>
  __device__ void encode_block(const float (&x)[kPacks<N>][N], int64_t at, int64_t numel) const {
    float most = 0;
    for_packs<N>(at, numel, [&](int k, int64_t) {
#pragma unroll
      for (int i = 0; i < N; ++i) most = fmaxf(most, fabsf(x[k][i]));
    });
    most = warp_max(most);
    if (threadIdx.x % kWarp == 0) absmax[at / kSpan] = most;
    const float inverse = inverse_absmax(most);
    for_packs<N>(at, numel, [&](int k, int64_t to) {
      Pack<S, N> pack;
#pragma unroll
      for (int i = 0; i < N; ++i) pack.v[i] = ops::encode(*book, x[k][i] * inverse);
      store(data + to, pack);
    });
  }
};

// W: of the weights that are updated, S: of the moments.
template <typename W, typename S, int N>
__device__ void update_span(const AdamW& p, const Moment<S, true>& first,
                            const Moment<S, false>& second, float scale, int64_t at) {
  W* const weights = static_cast<W*>(p.param);
  Pack<W, N> param[kPacks<N>];
  Pack<float, N> grad[kPacks<N>];
  Pack<S, N> m[kPacks<N>], v[kPacks<N>];
  load_packs(p.grad, at, p.numel, grad);
  load_packs(weights, at, p.numel, param);
  load_packs(first.data, at, p.numel, m);
  load_packs(second.data, at, p.numel, v);
  float mean[kPacks<N>][N], square[kPacks<N>][N];
  first.decode(m, at, p.numel, mean);
  second.decode(v, at, p.numel, square);
  for_packs<N>(at, p.numel, [&](int k, int64_t to) {
    float x[N];
    Pack<bf16, N> copy;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      x[i] = param[k][i];
      adamw_element(p.constants, grad[k].v[i] * scale, x[i], mean[k][i], square[k][i]);
      copy.set(i, x[i]);
    }
    if constexpr (sizeof(W) == 2) {
      store_rounded(weights, to, x, p.param_bits);
    } else {
      store_floats(weights, to, x);
      if (p.weight != nullptr) store_copy(static_cast<bf16*>(p.weight) + to, copy);
    }
  });
  first.encode(mean, at, p.numel);
  second.encode(square, at, p.numel);
}

template <typename W, typename S, int N>
__global__ void __launch_bounds__(kThreads) adamw_kernel(AdamW p) {
  const float divisor = *p.divisor;
  if (!isfinite(divisor)) return;
  __shared__ CodeBooks books;
  if constexpr (sizeof(S) == 1) {
    const auto* from = reinterpret_cast<const int32_t*>(&kCodeBooks);
    auto* to = reinterpret_cast<int32_t*>(&books);
    for (int i = threadIdx.x; i < sizeof(CodeBooks) / sizeof(int32_t); i += kThreads) {
      to[i] = from[i];
    }
    __syncthreads();
  }
  const Moment<S, true> first{static_cast<S*>(p.m), p.m_absmax, p.m_bits, &books.first};
  const Moment<S, false> second{static_cast<S*>(p.v), p.v_absmax, p.v_bits, &books.second};
  const float scale = static_cast<float>(1.0 / static_cast<double>(divisor));
  const int64_t warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  for (int round = 0; round < kRounds<S>; ++round) {
    const int64_t begin =
        ((static_cast<int64_t>(blockIdx.x) * kRounds<S> + round) * kWarps + warp) * kSpan;
    if (begin >= p.numel) return;
    update_span<W, S, N>(p, first, second, scale, begin + lane * N);
  }
}

template <typename W, typename S, int N>
void launch(const AdamW& p) {
  const int64_t blocks = divide_up(p.numel, int64_t{kSpan} * kWarps * kRounds<S>);
  adamw_kernel<W, S, N><<<blocks, kThreads, 0, current_stream()>>>(p);
}

template <typename W, typename S>
void launch(const AdamW& p) {
  // With N 4, packs of other types are smaller than the 16 bytes that this checks.
  const bool packs = vectorises<float>({p.param, p.grad, p.m, p.v, p.weight}, {p.numel}) &&
                     p.param_bits.first % 4 == 0;
  packs ? launch<W, S, 4>(p) : launch<W, S, 1>(p);
}

template <typename W>
void launch(const AdamW& p) {
  switch (p.moments) {
    case MomentType::kFloat:
      return launch<W, float>(p);
    case MomentType::kBFloat16:
      return launch<W, bf16>(p);
    case MomentType::kEightBit:
      return launch<W, uint8_t>(p);
  }
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
  p.dtype == Dtype::kFloat ? launch<float>(p) : launch<bf16>(p);
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
