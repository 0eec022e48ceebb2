#include "ops/routing.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <limits>

#include "ops/entry.h"
#include "ops/routing_cpu.h"

namespace trireme::ops {
namespace {

void choose_cuda(const at::Tensor& logits, bool normalise, Routing& routing) {
  cuda::route({.dtype = dtype_of(logits),
               .logits = logits.const_data_ptr(),
               .tokens = logits.size(0),
               .experts = logits.size(1),
               .choices = routing.experts.size(1),
               .normalise = normalise,
               .expert = routing.experts.mutable_data_ptr<int32_t>(),
               .weight = routing.weights.mutable_data_ptr<float>()});
}

void sort_cuda(Routing& routing) {
  const int64_t pairs = routing.experts.numel(), experts = routing.ends.size(0);
  const int64_t tiles = (pairs + cuda::kRoutingTile - 1) / cuda::kRoutingTile;
  at::Tensor counts = at::empty({experts, tiles}, routing.rows.options());
  at::Tensor totals = at::empty({experts}, routing.rows.options());
  cuda::sort_by_expert({.expert = routing.experts.const_data_ptr<int32_t>(),
                        .pairs = pairs,
                        .experts = experts,
                        .choices = routing.experts.size(1),
                        .counts = counts.mutable_data_ptr<int32_t>(),
                        .totals = totals.mutable_data_ptr<int32_t>(),
                        .ends = routing.ends.mutable_data_ptr<int32_t>(),
                        .rows = routing.rows.mutable_data_ptr<int32_t>(),
                        .tokens = routing.tokens.mutable_data_ptr<int32_t>()});
}

Routing route_cuda(const at::Tensor& logits, int64_t k, bool normalise) {
  const int64_t tokens = logits.size(0);
  const auto ints = logits.options().dtype(at::kInt), floats = logits.options().dtype(at::kFloat);
  Routing routing{at::empty({tokens, k}, ints), at::empty({tokens, k}, floats),
                  at::empty({tokens, k}, ints), at::empty({tokens * k}, ints),
                  at::zeros({logits.size(1)}, ints)};
  if (tokens == 0) return routing;
  choose_cuda(logits, normalise, routing);
  sort_cuda(routing);
  return routing;
}

}  // namespace

Routing route(const at::Tensor& logits, int64_t k, bool norm_topk_prob) {
  TRIREME_CHECK(logits.dim() == 2 && logits.is_contiguous());
  const int64_t experts = logits.size(1);
  TRIREME_CHECK(k >= 1 && k <= experts && k <= cuda::kMaxChoices && experts <= cuda::kMaxExperts,
                "{} of {} experts", k, experts);
  TRIREME_CHECK(logits.size(0) * k <= std::numeric_limits<int32_t>::max());
  return (on_cuda(logits) ? route_cuda : cpu::route)(logits, k, norm_topk_prob);
}

at::Tensor gather_rows(const at::Tensor& x, const at::Tensor& tokens) {
  TRIREME_CHECK(x.dim() == 2 && x.stride(1) == 1 && tokens.is_contiguous());
  if (!on_cuda(x)) return cpu::gather_rows(x, tokens);
  at::Tensor y = at::empty({tokens.size(0), x.size(1)}, x.options());
  if (y.numel() == 0) return y;
  cuda::gather_rows({.dtype = dtype_of(x),
                     .x = x.const_data_ptr(),
                     .x_stride = x.stride(0),
                     .tokens = tokens.const_data_ptr<int32_t>(),
                     .y = y.mutable_data_ptr(),
                     .rows = tokens.size(0),
                     .width = x.size(1)});
  return y;
}

void combine_rows(const at::Tensor& rows, const Routing& routing, const at::Tensor& weights,
                  const at::Tensor& base, at::Tensor y) {
  const int64_t tokens = routing.rows.size(0), width = rows.size(1);
  TRIREME_CHECK(rows.is_contiguous() && rows.size(0) == routing.rows.numel());
  TRIREME_CHECK(!weights.defined() ||
                (weights.is_contiguous() && weights.numel() == routing.rows.numel()));
  TRIREME_CHECK(!base.defined() ||
                (base.stride(1) == 1 && base.size(0) == tokens && base.size(1) == width &&
                 base.scalar_type() == rows.scalar_type()));
  TRIREME_CHECK(y.is_contiguous() && y.size(0) == tokens && y.size(1) == width &&
                y.scalar_type() == rows.scalar_type());
  if (y.numel() == 0) return;
  if (!on_cuda(rows)) return cpu::combine_rows(rows, routing, weights, base, y);
  cuda::combine_rows({.dtype = dtype_of(rows),
                      .x = rows.const_data_ptr(),
                      .rows = routing.rows.const_data_ptr<int32_t>(),
                      .weight = floats_or_null(weights),
                      .base = data_or_null(base),
                      .base_stride = base.defined() ? base.stride(0) : 0,
                      .y = y.mutable_data_ptr(),
                      .tokens = tokens,
                      .choices = routing.rows.size(1),
                      .width = width});
}

at::Tensor row_weights(const Routing& routing) {
  if (!on_cuda(routing.weights)) return cpu::row_weights(routing);
  at::Tensor out = at::empty({routing.rows.numel()}, routing.weights.options());
  if (out.numel() == 0) return out;
  cuda::scatter_weights(routing.weights.const_data_ptr<float>(),
                        routing.rows.const_data_ptr<int32_t>(), out.numel(),
                        out.mutable_data_ptr<float>());
  return out;
}

void add_router_load(const at::Tensor& logits, const Routing& routing, int64_t tokens,
                     at::Tensor choices, at::Tensor probabilities) {
  TRIREME_CHECK(tokens >= 0 && tokens <= logits.size(0));
  if (tokens == 0) return;
  const at::Tensor experts = routing.experts.narrow(0, 0, tokens).flatten();
  choices.index_add_(0, experts, at::ones({experts.numel()}, choices.options()));  // exact sums
  probabilities.add_(at::softmax(logits.narrow(0, 0, tokens), 1, at::kFloat).sum({0}));
}

at::Tensor router_backward(const at::Tensor& logits, const Routing& routing,
                           const at::Tensor& dweight_rows, bool norm_topk_prob,
                           const ProbabilityGrad& dprobability) {
  TRIREME_CHECK(logits.is_contiguous() && logits.size(0) == routing.experts.size(0));
  TRIREME_CHECK(dweight_rows.is_contiguous() && dweight_rows.numel() == routing.rows.numel() &&
                dweight_rows.scalar_type() == at::kFloat);
  const at::Tensor& every = dprobability.grad;
  TRIREME_CHECK(!every.defined() || (every.is_contiguous() && every.numel() == logits.size(1)));
  if (!on_cuda(logits)) {
    return cpu::router_backward(logits, routing, dweight_rows, norm_topk_prob, dprobability);
  }
  at::Tensor dlogits = at::empty(logits.sizes(), logits.options());
  if (dlogits.numel() == 0) return dlogits;
  cuda::router_backward({.dtype = dtype_of(logits),
                         .logits = logits.const_data_ptr(),
                         .expert = routing.experts.const_data_ptr<int32_t>(),
                         .rows = routing.rows.const_data_ptr<int32_t>(),
                         .dweight = dweight_rows.const_data_ptr<float>(),
                         .normalise = norm_topk_prob,
                         .dprobability = floats_or_null(every),
                         .dprobability_tokens = dprobability.tokens,
                         .dlogits = dlogits.mutable_data_ptr(),
                         .tokens = logits.size(0),
                         .experts = logits.size(1),
                         .choices = routing.experts.size(1)});
  return dlogits;
}

}  // namespace trireme::ops
