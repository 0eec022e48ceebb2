#include "ops/merge.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/sigmoid.h>

#include "ops/entry.h"

namespace trireme::ops {
namespace {

static_assert(kMostParts == cuda::kMostParts);

// The kernel is for the program's dtypes. Without it, a pass or more over the sum for each part.
bool has_kernel(const at::Tensor& out, const std::vector<AttentionPart>& parts) {
  return out.is_cuda() && cuda::available() && parts[0].out.scalar_type() != at::kHalf;
}

// One part after another: with s the sigmoid,
//   out = out + s(lse' - lse) (out' - out),  lse = lse - log s(lse - lse'),
// where no exponential overflows, however far apart the two are.
at::Tensor merge_composed(const at::Tensor& out, at::Tensor& lse,
                          const std::vector<AttentionPart>& parts, at::ScalarType dtype) {
  const at::Tensor sum = out.to(at::kFloat);
  for (const AttentionPart& part : parts) {
    const int64_t rows = part.out.size(0);
    const at::Tensor seen = lse.narrow(1, part.first, rows);
    const at::Tensor weight = at::sigmoid(part.lse - seen);  // [H,n]
    sum.narrow(0, part.first, rows).lerp_(part.out.to(at::kFloat), weight.t().unsqueeze(2));
    seen.sub_(at::log_sigmoid(seen - part.lse));
  }
  return sum.to(dtype);
}

at::Tensor add_composed(const at::Tensor& out, const std::vector<AttentionPart>& parts,
                        at::ScalarType dtype) {
  const at::Tensor sum = out.to(at::kFloat);
  for (const AttentionPart& part : parts) {
    sum.narrow(0, part.first, part.out.size(0)).add_(part.out);
  }
  return sum.to(dtype);
}

// Without `lse`: gradients.
at::Tensor run_kernel(const at::Tensor& out, float* lse, const std::vector<AttentionPart>& parts,
                      at::ScalarType dtype) {
  const at::Tensor to =
      out.scalar_type() == dtype ? out : at::empty(out.sizes(), out.options().dtype(dtype));
  cuda::MergeParts p{.part_dtype = dtype_of(parts[0].out),
                     .from_dtype = dtype_of(out),
                     .to_dtype = dtype_of(to),
                     .from = out.const_data_ptr(),
                     .to = to.mutable_data_ptr(),
                     .lse = lse,
                     .rows = out.size(0),
                     .heads = out.size(1),
                     .dim = out.size(2),
                     .count = static_cast<int>(parts.size()),
                     .parts = {}};
  std::vector<at::Tensor> contiguous;  // live until the launch
  for (size_t i = 0; i < parts.size(); ++i) {
    const at::Tensor& part_lse = parts[i].lse;
    contiguous.push_back(parts[i].out.contiguous());
    p.parts[i] = {contiguous.back().const_data_ptr(), floats_or_null(part_lse),
                  lse == nullptr ? 0 : part_lse.stride(0), parts[i].first, parts[i].out.size(0)};
  }
  cuda::merge_parts(p);
  return to;
}

void check(const at::Tensor& out, const std::vector<AttentionPart>& parts) {
  TRIREME_CHECK(parts.size() <= kMostParts && (out.is_contiguous() || out.is_cpu()));
  for (const AttentionPart& part : parts) {
    TRIREME_CHECK(part.first >= 0 && part.first + part.out.size(0) <= out.size(0));
    TRIREME_CHECK(part.out.size(1) == out.size(1) && part.out.size(2) == out.size(2) &&
                  part.out.scalar_type() == parts[0].out.scalar_type());
  }
}

void check_lse(const at::Tensor& lse, const at::Tensor& out) {
  TRIREME_CHECK(lse.scalar_type() == at::kFloat);
  TRIREME_CHECK(lse.sizes() == at::IntArrayRef({out.size(1), out.size(0)}));
  TRIREME_CHECK(lse.is_cpu() || lse.size(1) <= 1 || lse.stride(1) == 1);
}

}  // namespace

at::Tensor merge_attention(const at::Tensor& out, at::Tensor& lse,
                           const std::vector<AttentionPart>& parts, at::ScalarType dtype) {
  check(out, parts);
  check_lse(lse, out);
  for (const AttentionPart& part : parts) check_lse(part.lse, part.out);
  if (out.numel() == 0 || parts.empty()) return out.to(dtype);
  if (!has_kernel(out, parts)) return merge_composed(out, lse, parts, dtype);
  TRIREME_CHECK(lse.is_contiguous());
  return run_kernel(out, lse.mutable_data_ptr<float>(), parts, dtype);
}

at::Tensor add_parts(const at::Tensor& sum, const std::vector<AttentionPart>& parts,
                     at::ScalarType dtype) {
  check(sum, parts);
  for (const AttentionPart& part : parts) TRIREME_CHECK(!part.lse.defined());
  if (sum.numel() == 0 || parts.empty()) return sum.to(dtype);
  return has_kernel(sum, parts) ? run_kernel(sum, nullptr, parts, dtype)
                                : add_composed(sum, parts, dtype);
}

}  // namespace trireme::ops
