// A group of lanes, a power of two, has one head of one token: each lane holds neighbours i.. of
// the head's first half and their partners i + D/2.. of the second, so that a rotation needs no
// other lane and the norm one sum over the group.
#include "ops/device.cuh"

namespace trireme::ops::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTokensAtOnce = 4;

// How lanes cover half a head of `half` elements: each has kUnits packs of N, `lanes` packs apart.
struct Group {
  int lanes, half;
};

// As in memory: half the registers of the floats where T is bf16.
template <typename T, int N>
struct RawHalves {
  Pack<T, N> a, b;

  __device__ void read(const T* head, int at, int half) {
    a = load<T, N>(head + at);
    b = load<T, N>(head + half + at);
  }
  __device__ float low(int i) const { return a[i]; }
  __device__ float high(int i) const { return b[i]; }
};

template <typename T, int N>
struct Halves {
  float low[N], high[N];

  __device__ void read(const T* head, int at, int half) {
    const Pack<T, N> a = load<T, N>(head + at), b = load<T, N>(head + half + at);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      low[i] = a[i];
      high[i] = b[i];
    }
  }
  __device__ void write(T* head, int at, int half) const {
    Pack<T, N> a, b;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      a.set(i, low[i]);
      b.set(i, high[i]);
    }
    store(head + at, a);
    store(head + half + at, b);
  }
  __device__ float squares() const {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < N; ++i) sum += low[i] * low[i] + high[i] * high[i];
    return sum;
  }
  // By the angles whose tables start at cos, sin; sign -1 turns back.
  __device__ void rotate(const float* cos, const float* sin, float sign) {
    const Pack<float, N> c = load_floats(cos), s = load_floats(sin);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float a = low[i], b = high[i], turn = sign * s[i];
      low[i] = a * c[i] - b * turn;
      high[i] = b * c[i] + a * turn;
    }
  }

 private:
  // In 16-byte pieces: a pack of eight floats is two.
  static __device__ Pack<float, N> load_floats(const float* from) {
    constexpr int kPiece = N < 4 ? N : 4;
    Pack<float, N> x;
#pragma unroll
    for (int i = 0; i < N; i += kPiece) {
      const Pack<float, kPiece> piece = load<float, kPiece>(from + i);
#pragma unroll
      for (int j = 0; j < kPiece; ++j) x.v[i + j] = piece.v[j];
    }
    return x;
  }
};

template <typename T, int N, int kUnits>
__global__ void __launch_bounds__(kThreads) forward_kernel(RotateHeads p, Group group) {
  const int lane = threadIdx.x % group.lanes, groups = kThreads / group.lanes;
  const int heads = static_cast<int>(p.heads + p.kv_heads), dim = 2 * group.half;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kTokensAtOnce;
  const int items =
      static_cast<int>(min(p.tokens - first, static_cast<int64_t>(kTokensAtOnce))) * heads;
  // All lanes of a warp make the same number of turns: they meet in the sum.
  for (int start = 0; start < items; start += groups) {
    const int item = start + threadIdx.x / group.lanes;
    const bool valid = item < items;
    const int head = valid ? item % heads : 0;
    const int64_t token = first + (valid ? item / heads : 0);
    const bool is_q = head < p.heads;
    const T* from = static_cast<const T*>(p.qkv) + token * p.qkv_stride + head * dim;
    const T* norm = static_cast<const T*>(is_q ? p.q_norm : p.k_norm);
    Halves<T, N> x[kUnits];
    float sum = 0;
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const int at = (lane + u * group.lanes) * N;
      if (!valid || at >= group.half) continue;
      x[u].read(from, at, group.half);
      sum += x[u].squares();
    }
    float rstd = 1;
    if (p.q_norm != nullptr) {
      rstd = rsqrtf(group_sum(sum, group.lanes) / static_cast<float>(dim) + p.eps);
    }
    T* to = is_q ? static_cast<T*>(p.q) + (token * p.heads + head) * dim
                 : static_cast<T*>(p.k) + (token * p.kv_heads + head - p.heads) * dim;
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const int at = (lane + u * group.lanes) * N;
      if (!valid || at >= group.half) continue;
      if (norm != nullptr) {
        Halves<T, N> w;
        w.read(norm, at, group.half);
#pragma unroll
        for (int i = 0; i < N; ++i) {
          x[u].low[i] = rounded<T>(x[u].low[i] * rstd * w.low[i]);
          x[u].high[i] = rounded<T>(x[u].high[i] * rstd * w.high[i]);
        }
      }
      x[u].rotate(p.cos + token * group.half + at, p.sin + token * group.half + at, 1.0f);
      x[u].write(to, at, group.half);
    }
  }
}

// g, a normed head's gradient (the rotation undone), becomes that of the head x: with r = rstd,
// g w r - x (sum g w x) r^3 / D. w's own gradient, g x r, is added to dw where it is trained.
template <typename T, int N, int kUnits, bool kWeightGrad>
__device__ void norm_backward(Halves<T, N>* g, const RawHalves<T, N>* x, const T* norm, bool valid,
                              int lane, const Group& group, float eps, Halves<T, N>* dw) {
  RawHalves<T, N> w[kUnits];
  float squares = 0, dot = 0;
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    const int at = (lane + u * group.lanes) * N;
    if (!valid || at >= group.half) continue;
    w[u].read(norm, at, group.half);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      squares += x[u].low(i) * x[u].low(i) + x[u].high(i) * x[u].high(i);
      dot += g[u].low[i] * w[u].low(i) * x[u].low(i) + g[u].high[i] * w[u].high(i) * x[u].high(i);
    }
  }
  const float inverse = 1.0f / static_cast<float>(2 * group.half);
  const float rstd = rsqrtf(group_sum(squares, group.lanes) * inverse + eps);
  const float shift = group_sum(dot, group.lanes) * rstd * rstd * rstd * inverse;
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    const int at = (lane + u * group.lanes) * N;
    if (!valid || at >= group.half) continue;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float low = g[u].low[i], high = g[u].high[i];
      g[u].low[i] = low * w[u].low(i) * rstd - x[u].low(i) * shift;
      g[u].high[i] = high * w[u].high(i) * rstd - x[u].high(i) * shift;
      if constexpr (kWeightGrad) {
        dw[u].low[i] += low * x[u].low(i) * rstd;
        dw[u].high[i] += high * x[u].high(i) * rstd;
      }
    }
  }
}

// A block's groups' sums of one weight's gradient, added in the groups' order, to out [dim].
template <typename T, int N, int kUnits>
__device__ void reduce_groups(const Halves<T, N>* dw, int lane, const Group& group, float* shared,
                              float* out) {
  const int dim = 2 * group.half, groups = kThreads / group.lanes;
  float* own = shared + threadIdx.x / group.lanes * dim;
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    const int at = (lane + u * group.lanes) * N;
    if (at >= group.half) continue;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      own[at + i] = dw[u].low[i];
      own[group.half + at + i] = dw[u].high[i];
    }
  }
  __syncthreads();
  for (int c = threadIdx.x; c < dim; c += kThreads) {
    float sum = 0;
    for (int k = 0; k < groups; ++k) sum += shared[k * dim + c];
    out[c] = sum;
  }
  __syncthreads();
}

// Block b takes tokens b, b + blocks, ...: q and k heads one after the other in their own loops, so
// that one set of sums is alive at a time.
template <typename T, int N, int kUnits, bool kWeightGrad>
__device__ void heads_backward(const RotateHeadsBackward& p, const Group& group,
                               const HeadGrad& grad, int heads, int first_head, const T* norm,
                               float* shared, float* partial) {
  const int lane = threadIdx.x % group.lanes, groups = kThreads / group.lanes;
  const int dim = 2 * group.half;
  const int64_t columns = (p.heads + 2 * p.kv_heads) * dim;
  Halves<T, N> dw[kUnits] = {};
  // Items are (token, head) of the block's own tokens.
  const int64_t tokens = (p.tokens - blockIdx.x + gridDim.x - 1) / gridDim.x;
  const int64_t items = tokens * heads;
  const int token_step = groups / heads, head_step = groups % heads;
  int64_t turn = (threadIdx.x / group.lanes) / heads;
  int head = (threadIdx.x / group.lanes) % heads;
  for (int64_t start = 0; start < items; start += groups) {
    const bool valid = turn < tokens;
    const int64_t token = blockIdx.x + (valid ? turn : 0) * gridDim.x;
    const T* from =
        static_cast<const T*>(grad.data) + token * grad.token_stride + head * grad.head_stride;
    const T* projected = static_cast<const T*>(p.qkv) + token * p.qkv_stride +
                         static_cast<int64_t>(first_head + head) * dim;
    Halves<T, N> g[kUnits];
    RawHalves<T, N> x[kUnits];
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const int at = (lane + u * group.lanes) * N;
      if (!valid || at >= group.half) continue;
      g[u].read(from, at, group.half);
      if (norm != nullptr) x[u].read(projected, at, group.half);
      g[u].rotate(p.cos + token * group.half + at, p.sin + token * group.half + at, -1.0f);
    }
    if (norm != nullptr) {
      norm_backward<T, N, kUnits, kWeightGrad>(g, x, norm, valid, lane, group, p.eps, dw);
    }
    T* to =
        static_cast<T*>(p.dqkv) + token * columns + static_cast<int64_t>(first_head + head) * dim;
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const int at = (lane + u * group.lanes) * N;
      if (valid && at < group.half) g[u].write(to, at, group.half);
    }
    head += head_step;
    turn += token_step;
    if (head >= heads) {
      head -= heads;
      ++turn;
    }
  }
  if constexpr (kWeightGrad) reduce_groups<T, N, kUnits>(dw, lane, group, shared, partial);
}

template <typename T, int N>
__device__ void copy_values(const RotateHeadsBackward& p, int half) {
  const int dim = 2 * half, units = dim / N, per_token = static_cast<int>(p.kv_heads) * units;
  const int64_t columns = (p.heads + 2 * p.kv_heads) * dim;
  for (int64_t token = blockIdx.x; token < p.tokens; token += gridDim.x) {
    const T* from = static_cast<const T*>(p.dv.data) + token * p.dv.token_stride;
    T* to = static_cast<T*>(p.dqkv) + token * columns + (p.heads + p.kv_heads) * dim;
    for (int i = threadIdx.x; i < per_token; i += kThreads) {
      const int head = i / units, at = i % units * N;
      store(to + head * dim + at, load<T, N>(from + head * p.dv.head_stride + at));
    }
  }
}

template <typename T, int N, int kUnits, bool kWeightGrad>
__global__ void __launch_bounds__(kThreads, kUnits == 1 ? 4 : 1)
    backward_kernel(RotateHeadsBackward p, Group group) {
  extern __shared__ float shared[];
  const int q_heads = static_cast<int>(p.heads), kv_heads = static_cast<int>(p.kv_heads);
  const int dim = 2 * group.half;
  float* partial = nullptr;
  if constexpr (kWeightGrad) partial = p.partial + static_cast<int64_t>(blockIdx.x) * 2 * dim;
  heads_backward<T, N, kUnits, kWeightGrad>(p, group, p.dq, q_heads, 0,
                                            static_cast<const T*>(p.q_norm), shared, partial);
  heads_backward<T, N, kUnits, kWeightGrad>(p, group, p.dk, kv_heads, q_heads,
                                            static_cast<const T*>(p.k_norm), shared,
                                            kWeightGrad ? partial + dim : nullptr);
  copy_values<T, N>(p, group.half);
}

// The smallest power of two of lanes that covers half a head, and how many packs each then has.
template <typename T, int N>
int64_t units_of(int64_t half, Group& group) {
  const int64_t packs = divide_up(half, N);
  group = {1, static_cast<int>(half)};
  while (group.lanes < kWarp && group.lanes < packs) group.lanes *= 2;
  const int64_t units = divide_up(packs, group.lanes);
  if (units > 4) refuse_launch("rotary embedding: the head is too wide");
  return units;
}

template <typename T, int N>
void forward(const RotateHeads& p) {
  Group group;
  const int64_t units = units_of<T, N>(p.dim / 2, group);
  const int64_t blocks = divide_up(p.tokens, kTokensAtOnce);
  const auto run = [&](auto kernel) {
    kernel<<<blocks, kThreads, 0, current_stream()>>>(p, group);
  };
  if (units == 1) return run(forward_kernel<T, N, 1>);
  if (units == 2) return run(forward_kernel<T, N, 2>);
  run(forward_kernel<T, N, 4>);
}

template <typename T, int N, bool kWeightGrad>
void backward(const RotateHeadsBackward& p) {
  Group group;
  const int64_t units = units_of<T, N>(p.dim / 2, group);
  const int64_t blocks = p.tokens < kHeadPartials ? p.tokens : kHeadPartials;
  const size_t bytes = kWeightGrad ? sizeof(float) * (kThreads / group.lanes) * p.dim : 0;
  if (bytes > 48 * 1024) refuse_launch("q/k norm: the head is too wide for shared memory");
  const auto run = [&](auto kernel) {
    kernel<<<blocks, kThreads, bytes, current_stream()>>>(p, group);
  };
  if (units == 1) return run(backward_kernel<T, N, 1, kWeightGrad>);
  if (units == 2) return run(backward_kernel<T, N, 2, kWeightGrad>);
  run(backward_kernel<T, N, 4, kWeightGrad>);
}

template <typename T, int N>
void backward(const RotateHeadsBackward& p) {
  p.partial != nullptr ? backward<T, N, true>(p) : backward<T, N, false>(p);
}

template <typename T>
void forward(const RotateHeads& p) {
  const bool packs =
      vectorises<T>({p.qkv, p.q_norm, p.k_norm, p.q, p.k}, {p.qkv_stride, p.dim / 2}) &&
      vectorises<float>({p.cos, p.sin}, {p.dim / 2});
  packs ? forward<T, kPackOf<T>>(p) : forward<T, 1>(p);
}

template <typename T>
void backward(const RotateHeadsBackward& p) {
  const bool packs =
      vectorises<T>({p.dq.data, p.dk.data, p.dv.data, p.qkv, p.q_norm, p.k_norm, p.dqkv},
                    {p.dq.token_stride, p.dq.head_stride, p.dk.token_stride, p.dk.head_stride,
                     p.dv.token_stride, p.dv.head_stride, p.qkv_stride, p.dim / 2}) &&
      vectorises<float>({p.cos, p.sin}, {p.dim / 2});
  // Packs of four also in bf16: eight need more registers than leave room for enough blocks.
  packs ? backward<T, 4>(p) : backward<T, 1>(p);
}

}  // namespace

void rotate_heads(const RotateHeads& p) {
  p.dtype == Dtype::kFloat ? forward<float>(p) : forward<bf16>(p);
  TRIREME_CHECK_LAUNCH();
}

void rotate_heads_backward(const RotateHeadsBackward& p) {
  p.dtype == Dtype::kFloat ? backward<float>(p) : backward<bf16>(p);
  TRIREME_CHECK_LAUNCH();
}

}  // namespace trireme::ops::cuda
