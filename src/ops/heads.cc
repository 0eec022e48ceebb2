#include "ops/heads.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <vector>

#include "ops/entry.h"
#include "ops/simd.h"

namespace trireme::ops {
namespace {

constexpr int64_t kTokenGrain = 16;
constexpr int64_t kPartials = 32;  // token ranges of the norms' partial sums, whatever the threads

TRIREME_SIMD void rotate(const float* x, const float* cos, const float* sin, float sign, float* y,
                         int64_t half) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[i], b = x[i + half], s = sign * sin[i];
    y[i] = a * cos[i] - b * s;
    y[i + half] = b * cos[i] + a * s;
  }
}

// g, the gradient of a normed head, becomes that of the head x.
TRIREME_SIMD void norm_backward(float* g, const float* x, const float* w, float rstd, float* dw,
                                int64_t n) {
  float dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < n; ++i) dot += g[i] * w[i] * x[i];
  const float shift = dot * rstd * rstd * rstd / static_cast<float>(n);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    dw[i] += g[i] * x[i] * rstd;
    g[i] = g[i] * w[i] * rstd - x[i] * shift;
  }
}

struct Angles {
  const float *cos, *sin;
  int64_t half;
};

void forward_cpu(const at::Tensor& qkv, const HeadNorms& norms, const Angles& angles,
                 RotatedHeads& to) {
  const int64_t heads = to.q.size(1), kv_heads = to.k.size(1), dim = to.q.size(2);
  const float *q_norm = floats_or_null(norms.q), *k_norm = floats_or_null(norms.k);
  const float* data = qkv.const_data_ptr<float>();
  float *q = to.q.mutable_data_ptr<float>(), *k = to.k.mutable_data_ptr<float>();
  const auto eps = static_cast<float>(norms.eps);
  at::parallel_for(0, qkv.size(0), kTokenGrain, [&](int64_t begin, int64_t end) {
    std::vector<float> normed(dim);
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t h = 0; h < heads + kv_heads; ++h) {
        const float* x = data + t * qkv.stride(0) + h * dim;
        const float* w = h < heads ? q_norm : k_norm;
        if (w != nullptr) {
          scale_row(x, w, reciprocal_rms(x, dim, eps), normed.data(), dim);
          x = normed.data();
        }
        float* y = h < heads ? q + (t * heads + h) * dim : k + (t * kv_heads + h - heads) * dim;
        rotate(x, angles.cos + t * angles.half, angles.sin + t * angles.half, 1.0f, y, angles.half);
      }
    }
  });
}

// Heads of one kind, back to their columns of dqkv, the first of which is `column`.
struct HeadsBackward {
  const at::Tensor &grad, &qkv;
  const float* norm;
  float eps;
  Angles angles;
  at::Tensor& dqkv;
  int64_t column;

  void token(int64_t t, float* dw) const {
    const int64_t dim = grad.size(2), half = angles.half;
    for (int64_t h = 0; h < grad.size(1); ++h) {
      const int64_t at = column + h * dim;
      float* to = dqkv.mutable_data_ptr<float>() + t * dqkv.stride(0) + at;
      rotate(grad.const_data_ptr<float>() + t * grad.stride(0) + h * grad.stride(1),
             angles.cos + t * half, angles.sin + t * half, -1.0f, to, half);
      if (norm == nullptr) continue;
      const float* x = qkv.const_data_ptr<float>() + t * qkv.stride(0) + at;
      norm_backward(to, x, norm, reciprocal_rms(x, dim, eps), dw, dim);
    }
  }

  void run(at::Tensor& dnorm) const {
    const int64_t tokens = grad.size(0), dim = grad.size(2), ranges = std::min(tokens, kPartials);
    const at::Tensor partial = at::zeros({ranges, dim}, at::kFloat);
    at::parallel_for(0, ranges, 1, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        float* dw = partial.mutable_data_ptr<float>() + p * dim;
        for (int64_t t = tokens * p / ranges; t < tokens * (p + 1) / ranges; ++t) token(t, dw);
      }
    });
    if (dnorm.defined()) dnorm.add_(partial.sum(0));
  }
};

void forward_cuda(const at::Tensor& qkv, const HeadNorms& norms, const Angles& angles,
                  RotatedHeads& to) {
  cuda::rotate_heads({.dtype = dtype_of(qkv),
                      .qkv = qkv.const_data_ptr(),
                      .qkv_stride = qkv.stride(0),
                      .q_norm = data_or_null(norms.q),
                      .k_norm = data_or_null(norms.k),
                      .eps = static_cast<float>(norms.eps),
                      .cos = angles.cos,
                      .sin = angles.sin,
                      .q = to.q.mutable_data_ptr(),
                      .k = to.k.mutable_data_ptr(),
                      .tokens = qkv.size(0),
                      .heads = to.q.size(1),
                      .kv_heads = to.k.size(1),
                      .dim = to.q.size(2)});
}

cuda::HeadGrad head_grad(const at::Tensor& x) {
  return {x.const_data_ptr(), x.stride(0), x.stride(1)};
}

struct Backward {
  const at::Tensor &dq, &dk, &dv, &qkv;
  const HeadNorms& norms;
  Angles angles;
  at::Tensor &dqkv, &dq_norm, &dk_norm;
};

void backward_cpu(const Backward& b) {
  const int64_t kv_heads = b.dk.size(1), dim = b.dk.size(2);
  const int64_t k_column = b.dq.size(1) * dim, v_column = k_column + kv_heads * dim;
  const auto eps = static_cast<float>(b.norms.eps);
  HeadsBackward{b.dq, b.qkv, floats_or_null(b.norms.q), eps, b.angles, b.dqkv, 0}.run(b.dq_norm);
  HeadsBackward{b.dk, b.qkv, floats_or_null(b.norms.k), eps, b.angles, b.dqkv, k_column}.run(
      b.dk_norm);
  b.dqkv.narrow(1, v_column, kv_heads * dim).unflatten(1, {kv_heads, dim}).copy_(b.dv);
}

// dnorm += the sums of partial [blocks, 2 D] over its blocks, from column `first`.
void add_norm_grad(const at::Tensor& partial, int64_t first, at::Tensor& dnorm) {
  if (!dnorm.defined()) return;
  cuda::add_column_sums({.partial = partial.const_data_ptr<float>() + first,
                         .stride = partial.size(1),
                         .rows = partial.size(0),
                         .columns = dnorm.size(0),
                         .out = dnorm.mutable_data_ptr<float>()});
}

void backward_cuda(const Backward& b) {
  const int64_t tokens = b.dq.size(0), dim = b.dq.size(2);
  const bool normed = b.norms.q.defined();
  at::Tensor partial;
  if (normed && (b.dq_norm.defined() || b.dk_norm.defined())) {
    partial = at::empty({std::min(tokens, cuda::kHeadPartials), 2 * dim},
                        b.dqkv.options().dtype(at::kFloat));
  }
  cuda::rotate_heads_backward(
      {.dtype = dtype_of(b.dqkv),
       .dq = head_grad(b.dq),
       .dk = head_grad(b.dk),
       .dv = head_grad(b.dv),
       .qkv = normed ? b.qkv.const_data_ptr() : nullptr,
       .qkv_stride = normed ? b.qkv.stride(0) : 0,
       .q_norm = data_or_null(b.norms.q),
       .k_norm = data_or_null(b.norms.k),
       .eps = static_cast<float>(b.norms.eps),
       .cos = b.angles.cos,
       .sin = b.angles.sin,
       .dqkv = b.dqkv.mutable_data_ptr(),
       .partial = partial.defined() ? partial.mutable_data_ptr<float>() : nullptr,
       .tokens = tokens,
       .heads = b.dq.size(1),
       .kv_heads = b.dk.size(1),
       .dim = dim});
  if (!partial.defined()) return;
  add_norm_grad(partial, 0, b.dq_norm);
  add_norm_grad(partial, dim, b.dk_norm);
}

Angles angles_of(const at::Tensor& cos, const at::Tensor& sin) {
  return {cos.const_data_ptr<float>(), sin.const_data_ptr<float>(), cos.size(1)};
}

void check_tables(const at::Tensor& cos, const at::Tensor& sin, int64_t tokens, int64_t dim) {
  TRIREME_CHECK(cos.is_contiguous() && sin.is_contiguous() && cos.scalar_type() == at::kFloat);
  TRIREME_CHECK(cos.size(0) == tokens && cos.size(1) * 2 == dim && sin.sizes() == cos.sizes());
}

void check_norms(const HeadNorms& norms, int64_t dim, at::ScalarType dtype) {
  TRIREME_CHECK(norms.q.defined() == norms.k.defined());
  if (!norms.q.defined()) return;
  TRIREME_CHECK(norms.q.numel() == dim && norms.k.numel() == dim && norms.q.is_contiguous() &&
                norms.k.is_contiguous() && norms.q.scalar_type() == dtype);
}

}  // namespace

RotatedHeads rotate_heads(const at::Tensor& qkv, int64_t heads, int64_t kv_heads,
                          const HeadNorms& norms, const at::Tensor& cos, const at::Tensor& sin) {
  const int64_t tokens = qkv.size(0), dim = qkv.size(1) / (heads + 2 * kv_heads);
  TRIREME_CHECK(qkv.stride(1) == 1 && qkv.size(1) == (heads + 2 * kv_heads) * dim);
  check_tables(cos, sin, tokens, dim);
  check_norms(norms, dim, qkv.scalar_type());
  RotatedHeads to{at::empty({tokens, heads, dim}, qkv.options()),
                  at::empty({tokens, kv_heads, dim}, qkv.options())};
  if (tokens == 0) return to;
  (on_cuda(qkv) ? forward_cuda : forward_cpu)(qkv, norms, angles_of(cos, sin), to);
  return to;
}

void rotate_heads_backward(const at::Tensor& dq, const at::Tensor& dk, const at::Tensor& dv,
                           const at::Tensor& qkv, const HeadNorms& norms, const at::Tensor& cos,
                           const at::Tensor& sin, at::Tensor& dqkv, at::Tensor& dq_norm,
                           at::Tensor& dk_norm) {
  const int64_t tokens = dq.size(0), heads = dq.size(1), kv_heads = dk.size(1), dim = dq.size(2);
  TRIREME_CHECK(dq.stride(2) == 1 && dk.stride(2) == 1 && dv.stride(2) == 1);
  TRIREME_CHECK(dk.sizes() == dv.sizes() && dk.size(0) == tokens && dk.size(2) == dim);
  TRIREME_CHECK(dq.scalar_type() == dqkv.scalar_type() && dk.scalar_type() == dqkv.scalar_type() &&
                dv.scalar_type() == dqkv.scalar_type());
  TRIREME_CHECK(dqkv.is_contiguous() && dqkv.size(0) == tokens &&
                dqkv.size(1) == (heads + 2 * kv_heads) * dim);
  check_tables(cos, sin, tokens, dim);
  check_norms(norms, dim, dqkv.scalar_type());
  if (norms.q.defined()) TRIREME_CHECK(qkv.sizes() == dqkv.sizes() && qkv.stride(1) == 1);
  if (tokens == 0) return;
  (on_cuda(dqkv) ? backward_cuda : backward_cpu)(
      {dq, dk, dv, qkv, norms, angles_of(cos, sin), dqkv, dq_norm, dk_norm});
}

}  // namespace trireme::ops
