#include "ops/linear.h"

#include <ATen/Parallel.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/mm.h>

#include "base/error.h"
#include "ops/gemm.h"

namespace trireme::ops {

at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) {
  at::Tensor out = at::empty({x.size(0), w.size(0)}, x.options());
  linear_out(out, x, w, bias);
  return out;
}

void linear_out(at::Tensor out, const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) {
  if (bias.defined()) {
    at::addmm_out(out, bias, x, w.t());
  } else {
    product(out, x, w.t());
  }
}

void linear_add(at::Tensor out, const at::Tensor& base, const at::Tensor& x, const at::Tensor& w,
                const at::Tensor& bias) {
  if (x.is_cuda()) {
    cuda::gemm(x, w.t(), base, out, 1, /*beta=*/1);
  } else {
    at::addmm_out(out, base, x, w.t());
  }
  if (bias.defined()) out.add_(bias);
}

at::Tensor linear_fp32(const at::Tensor& x, const at::Tensor& w) {
  at::Tensor out = at::empty({x.size(0), w.size(0)}, x.options().dtype(at::kFloat));
  if (x.is_cuda()) {
    cuda::gemm(x, w.t(), out, out);
  } else {
    at::mm_out(out, x.to(at::kFloat), w.to(at::kFloat).t());
  }
  return out;
}

at::Tensor matmul(const at::Tensor& a, const at::Tensor& b) {
  at::Tensor out = at::empty({a.size(0), b.size(1)}, a.options());
  product(out, a, b);
  return out;
}

void product(at::Tensor out, const at::Tensor& a, const at::Tensor& b, double scale) {
  if (a.is_cuda()) {
    cuda::gemm(a, b, out, out, scale);
  } else {
    at::addmm_out(out, out, a, b, /*beta=*/0, /*alpha=*/scale);
  }
}

void add_product(at::Tensor out, const at::Tensor& a, const at::Tensor& b, double scale) {
  if (a.is_cuda()) {
    cuda::gemm(a, b, out, out, scale, /*beta=*/1);
  } else {
    at::addmm_out(out, out, a, b, /*beta=*/1, /*alpha=*/scale);
  }
}

void accumulate_weight_grad(at::Tensor& dw, const at::Tensor& dy, const at::Tensor& x, double scale,
                            bool overwrite) {
  TRIREME_CHECK(dw.scalar_type() == at::kFloat);
  (overwrite ? product : add_product)(dw, dy.t(), x, scale);
}

void accumulate_bias_grad(at::Tensor& dbias, const at::Tensor& dy, double scale) {
  dbias.add_(dy.sum({0}, false, at::kFloat), scale);
}

at::Tensor embedding(const at::Tensor& weight, const at::Tensor& tokens) {
  return at::index_select(weight, 0, tokens);
}

void accumulate_embedding_grad(at::Tensor& dweight, const at::Tensor& dy, const at::Tensor& tokens,
                               std::optional<int64_t> without) {
  if (!dy.is_cpu() || dy.scalar_type() != at::kFloat) {
    at::Tensor rows = dy.to(at::kFloat, /*non_blocking=*/false, /*copy=*/without.has_value());
    if (without) rows.masked_fill_(tokens.eq(*without).unsqueeze(1), 0);
    dweight.index_add_(0, tokens, rows);
    return;
  }
  // Threads own columns, so that equal tokens never race and the order of additions is the tokens'.
  const int64_t width = dy.size(1), stride = dy.stride(0);
  const int64_t* token = tokens.const_data_ptr<int64_t>();
  at::parallel_for(0, width, 64, [&](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < tokens.size(0); ++t) {
      if (without == token[t]) continue;
      float* to = dweight.mutable_data_ptr<float>() + token[t] * width;
      const float* from = dy.const_data_ptr<float>() + t * stride;
      for (int64_t c = begin; c < end; ++c) to[c] += from[c];
    }
  });
}

}  // namespace trireme::ops
