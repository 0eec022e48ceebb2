// Launch functions of the CUDA kernels: raw pointers and sizes, so that neither side's headers
// reach the other's compiler. Entries check and allocate; these only launch, on torch's current
// stream, and never wait. Activations are `Dtype`, everything else is what its pointer says.
// Strides are in elements. Sums are over ranges fixed by the sizes alone, added in a fixed order:
// the same input gives the same bits. Without CUDA, kernels_nocuda.cc takes their place.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/adamw_element.h"
#include "ops/stochastic_rounding.h"

namespace trireme::ops::cuda {

enum class Dtype { kFloat, kBFloat16 };

// Blocks that keep a partial sum each.
inline constexpr int64_t kNormPartials = 264;     // two blocks of 512 threads a multiprocessor
inline constexpr int64_t kHeadPartials = 528;     // four of 256
inline constexpr int64_t kSquarePartials = 1056;  // eight of 256
inline constexpr int64_t kRoutingTile = 1024;     // pairs that one block sorts
inline constexpr int64_t kMaxExperts = 512;
inline constexpr int64_t kMaxChoices = 16;
inline constexpr size_t kMostParts = 16;  // of attention, in one launch

// Whether this build has them for the current device.
bool available();

struct RmsNorm {
  Dtype dtype;
  const void* x;  // [rows,width], row stride x_stride
  int64_t x_stride;
  const void* w;  // [width]
  void* y;        // [rows,width]
  int64_t rows, width;
  float eps;
};
void rms_norm(const RmsNorm& p);

struct RmsNormBackward {
  Dtype dtype;
  const void* dy;
  int64_t dy_stride;
  const void* x;
  int64_t x_stride;
  const void* w;
  void* dx;  // added to
  int64_t dx_stride;
  float* partial;  // [min(rows, kNormPartials), width], or null: w is frozen
  int64_t rows, width;
  float eps;
};
void rms_norm_backward(const RmsNormBackward& p);

// out[c] += sum over r of partial[r,c].
struct AddColumnSums {
  const float* partial;
  int64_t stride, rows, columns;
  float* out;
};
void add_column_sums(const AddColumnSums& p);

struct RotateHeads {
  Dtype dtype;
  const void* qkv;  // [tokens,(heads+2kv_heads)dim]
  int64_t qkv_stride;
  const void *q_norm, *k_norm;  // [dim] or null
  float eps;
  const float *cos, *sin;  // [tokens,dim/2]
  void *q, *k;             // contiguous
  int64_t tokens, heads, kv_heads, dim;
};
void rotate_heads(const RotateHeads& p);

struct HeadGrad {
  const void* data;  // [tokens,N,dim], dim contiguous
  int64_t token_stride, head_stride;
};
struct RotateHeadsBackward {
  Dtype dtype;
  HeadGrad dq, dk, dv;
  const void* qkv;  // read only where there are norms
  int64_t qkv_stride;
  const void *q_norm, *k_norm;
  float eps;
  const float *cos, *sin;
  void* dqkv;      // contiguous
  float* partial;  // [min(tokens, kHeadPartials), 2 dim]: of q_norm, then of k_norm; or null
  int64_t tokens, heads, kv_heads, dim;
};
void rotate_heads_backward(const RotateHeadsBackward& p);

struct Swiglu {
  Dtype dtype;
  const void* gate_up;  // [rows,2width]
  void* a;              // [rows,width], row stride a_stride
  int64_t a_stride;
  int64_t rows, width;
};
void swiglu(const Swiglu& p);

struct SwigluBackward {
  Dtype dtype;
  const void *da, *gate_up;
  void* dgate_up;
  void* a;              // [rows,width] or null
  const float* weight;  // [rows] or null
  float* dweight;       // [rows], with weight
  int64_t rows, width;
};
void swiglu_backward(const SwigluBackward& p);

struct CrossEntropy {
  Dtype dtype;  // of the gradient
  float* logits;
  const int64_t* targets;
  float* losses;  // [rows]
  bool backward;  // the gradient goes over the logits, each row to its own row's beginning
  float grad_scale;
  int64_t rows, width;
};
void cross_entropy(const CrossEntropy& p);

// out[0] += sum of x[n].
void add_sum(const float* x, int64_t n, float* out);

enum class MomentType { kFloat, kBFloat16, kEightBit };

struct AdamW {
  Dtype dtype;  // of param; bf16 is rounded stochastically
  MomentType moments;
  void* param;
  const float* grad;
  void *m, *v;
  float *m_absmax, *v_absmax;  // of kEightBit
  void* weight;                // bf16 copy of an fp32 param, or null
  const float* divisor;
  int64_t numel;
  AdamWConstants constants;
  RoundingStream param_bits, m_bits, v_bits;
};
void adamw(const AdamW& p);

// partial [kSquarePartials] is scratch.
void sum_of_squares(const float* x, int64_t n, double* partial, double* out);

struct Route {
  Dtype dtype;
  const void* logits;  // [tokens,experts]
  int64_t tokens, experts, choices;
  bool normalise;
  int32_t* expert;  // [tokens,choices]
  float* weight;    // [tokens,choices]
};
void route(const Route& p);

struct SortByExpert {
  const int32_t* expert;  // [pairs]
  int64_t pairs, experts, choices;
  int32_t* counts;  // scratch [experts, ceil(pairs / kRoutingTile)]
  int32_t* totals;  // scratch [experts]
  int32_t* ends;    // [experts]
  int32_t* rows;    // [pairs]
  int32_t* tokens;  // [pairs]
};
void sort_by_expert(const SortByExpert& p);

struct GatherRows {
  Dtype dtype;
  const void* x;  // [.,width], row stride x_stride
  int64_t x_stride;
  const int32_t* tokens;  // [rows]
  void* y;                // [rows,width]
  int64_t rows, width;
};
void gather_rows(const GatherRows& p);

struct CombineRows {
  Dtype dtype;
  const void* x;        // [tokens choices,width]
  const int32_t* rows;  // [tokens,choices]
  const float* weight;  // [tokens,choices] or null
  const void* base;     // [tokens,width], row stride base_stride, or null
  int64_t base_stride;
  void* y;  // [tokens,width]
  int64_t tokens, choices, width;
};
void combine_rows(const CombineRows& p);

// out[rows[i]] = x[i].
void scatter_weights(const float* x, const int32_t* rows, int64_t n, float* out);

struct RouterBackward {
  Dtype dtype;
  const void* logits;     // [tokens,experts]
  const int32_t* expert;  // [tokens,choices]
  const int32_t* rows;    // [tokens,choices]
  const float* dweight;   // [tokens choices] in row order
  bool normalise;
  const float* dprobability;    // [experts], at each of the first tokens; or null
  int64_t dprobability_tokens;  // so many
  void* dlogits;
  int64_t tokens, experts, choices;
};
void router_backward(const RouterBackward& p);

struct Dropout {
  Dtype dtype;
  const void* x;
  void* y;
  bool add;  // y += instead of y =
  int64_t numel;
  uint64_t seed;
  uint32_t threshold;  // see dropout_mask.h
  float scale;
};
void dropout(const Dropout& p);

struct AttentionPart {
  const void* out;   // [rows,heads,dim]
  const float* lse;  // [heads,rows], row stride lse_stride; or null
  int64_t lse_stride;
  int64_t first, rows;
};
struct MergeParts {
  Dtype part_dtype, from_dtype, to_dtype;  // each of the latter is the first or fp32
  const void* from;                        // [rows,heads,dim]
  void* to;                                // the same memory, or other
  float* lse;                              // [heads,rows]; null: all weights are one
  int64_t rows, heads, dim;
  int count;
  AttentionPart parts[kMostParts];
};
void merge_parts(const MergeParts& p);

}  // namespace trireme::ops::cuda
