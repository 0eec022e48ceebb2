// Device helpers of the kernels: packs of elements that move as one access, fp32 arithmetic on
// them, sums and maxima over a warp, a row's threads or a block.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <initializer_list>

#include "ops/kernels.h"
#include "ops/launch.h"

namespace trireme::ops::cuda {

using bf16 = __nv_bfloat16;

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(bf16 x) { return __bfloat162float(x); }
template <typename T>
__device__ inline T from_float(float x) {
  if constexpr (sizeof(T) == 2) {
    return __float2bfloat16_rn(x);
  } else {
    return x;
  }
}
// Rounded to T and back.
template <typename T>
__device__ inline float rounded(float x) {
  return to_float(from_float<T>(x));
}

// N neighbours, loaded and stored by one instruction.
template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  T v[N];

  __device__ float operator[](int i) const { return to_float(v[i]); }
  __device__ void set(int i, float x) { v[i] = from_float<T>(x); }
};
template <typename T, int N>
__device__ inline Pack<T, N> load(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}
template <typename T, int N>
__device__ inline void store(T* to, const Pack<T, N>& x) {
  *reinterpret_cast<Pack<T, N>*>(to) = x;
}

// Elements of a 16-byte pack.
template <typename T>
inline constexpr int kPackOf = 16 / sizeof(T);

// Whether 16-byte accesses fit: all pointers (null is fine) and all row lengths in elements.
template <typename T>
bool vectorises(std::initializer_list<const void*> pointers,
                std::initializer_list<int64_t> elements) {
  for (const void* p : pointers) {
    if (reinterpret_cast<uintptr_t>(p) % 16 != 0) return false;
  }
  for (int64_t n : elements) {
    if (n % kPackOf<T> != 0) return false;
  }
  return true;
}

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The sum over a group of `width` neighbouring lanes, a power of two; all 32 must arrive.
__device__ inline float group_sum(float x, int width) {
  for (int offset = width / 2; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(kAllLanes, x, offset);
  }
  return x;
}
__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(kAllLanes, x, offset);
  }
  return x;
}
__device__ inline double warp_sum(double x) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(kAllLanes, x, offset);
  }
  return x;
}
__device__ inline float warp_max(float x) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, offset));
  }
  return x;
}

// The sum over the threads that share threadIdx.y, to each of them; blockDim.x is a multiple of 32.
// All threads of the block call it. `shared` holds one T a warp, and is free again on return.
template <typename T>
__device__ inline T row_sum(T x, T* shared) {
  x = warp_sum(x);
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  if (warps == 1) return x;
  T* row = shared + threadIdx.y * warps;
  if (threadIdx.x % kWarp == 0) row[threadIdx.x / kWarp] = x;
  __syncthreads();
  x = 0;
  for (int w = 0; w < warps; ++w) x += row[w];
  __syncthreads();
  return x;
}

// Two of them at once.
__device__ inline void row_sums(float& a, float& b, float2* shared) {
  a = warp_sum(a);
  b = warp_sum(b);
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  if (warps == 1) return;
  float2* row = shared + threadIdx.y * warps;
  if (threadIdx.x % kWarp == 0) row[threadIdx.x / kWarp] = make_float2(a, b);
  __syncthreads();
  a = b = 0;
  for (int w = 0; w < warps; ++w) {
    a += row[w].x;
    b += row[w].y;
  }
  __syncthreads();
}

}  // namespace trireme::ops::cuda
