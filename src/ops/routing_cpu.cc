#include "ops/routing_cpu.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "ops/entry.h"

namespace trireme::ops::cpu {
namespace {

constexpr int64_t kTokenGrain = 16;

void softmax(const float* x, float* p, int64_t n) {
  const float max = *std::max_element(x, x + n);
  float sum = 0;
  for (int64_t e = 0; e < n; ++e) sum += p[e] = std::exp(x[e] - max);
  for (int64_t e = 0; e < n; ++e) p[e] /= sum;
}

// The k largest logits' experts, lower ones first at ties.
void choose(const float* x, int64_t n, int64_t k, std::vector<int32_t>& order, int32_t* experts) {
  order.resize(n);
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + k, order.end(),
                    [x](int32_t a, int32_t b) { return x[a] > x[b] || (x[a] == x[b] && a < b); });
  std::copy_n(order.begin(), k, experts);
}

void choose_all(const at::Tensor& logits, bool normalise, Routing& routing) {
  const int64_t n = logits.size(1), k = routing.experts.size(1);
  const float* x = logits.const_data_ptr<float>();
  int32_t* experts = routing.experts.mutable_data_ptr<int32_t>();
  float* weights = routing.weights.mutable_data_ptr<float>();
  at::parallel_for(0, logits.size(0), kTokenGrain, [&](int64_t begin, int64_t end) {
    std::vector<float> p(n);
    std::vector<int32_t> order;
    for (int64_t t = begin; t < end; ++t) {
      softmax(x + t * n, p.data(), n);
      choose(x + t * n, n, k, order, experts + t * k);
      float total = 0;
      for (int64_t j = 0; j < k; ++j) total += weights[t * k + j] = p[experts[t * k + j]];
      for (int64_t j = 0; normalise && j < k; ++j) weights[t * k + j] /= total;
    }
  });
}

void sort_pairs(Routing& routing) {
  const int64_t pairs = routing.experts.numel(), k = routing.experts.size(1);
  const int32_t* experts = routing.experts.const_data_ptr<int32_t>();
  std::vector<int64_t> next(routing.ends.size(0) + 1, 0);
  for (int64_t i = 0; i < pairs; ++i) ++next[experts[i] + 1];
  std::partial_sum(next.begin(), next.end(), next.begin());
  std::copy(next.begin() + 1, next.end(), routing.ends.mutable_data_ptr<int64_t>());
  for (int64_t i = 0; i < pairs; ++i) {
    const int64_t row = next[experts[i]]++;
    routing.rows.mutable_data_ptr<int32_t>()[i] = static_cast<int32_t>(row);
    routing.tokens.mutable_data_ptr<int32_t>()[row] = static_cast<int32_t>(i / k);
  }
}

}  // namespace

Routing route(const at::Tensor& logits, int64_t k, bool norm_topk_prob) {
  const int64_t tokens = logits.size(0);
  Routing routing{at::empty({tokens, k}, at::kInt), at::empty({tokens, k}, at::kFloat),
                  at::empty({tokens, k}, at::kInt), at::empty({tokens * k}, at::kInt),
                  at::empty({logits.size(1)}, at::kLong)};
  choose_all(logits, norm_topk_prob, routing);
  sort_pairs(routing);
  return routing;
}

at::Tensor gather_rows(const at::Tensor& x, const at::Tensor& tokens) {
  const int64_t width = x.size(1);
  at::Tensor y = at::empty({tokens.size(0), width}, x.options());
  const int32_t* token = tokens.const_data_ptr<int32_t>();
  at::parallel_for(0, tokens.size(0), kTokenGrain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::copy_n(x.const_data_ptr<float>() + token[r] * x.stride(0), width,
                  y.mutable_data_ptr<float>() + r * width);
    }
  });
  return y;
}

void combine_rows(const at::Tensor& rows, const Routing& routing, const at::Tensor& weights,
                  const at::Tensor& base, at::Tensor y) {
  const int64_t tokens = routing.rows.size(0), k = routing.rows.size(1), width = rows.size(1);
  const int32_t* row = routing.rows.const_data_ptr<int32_t>();
  const float* weight = floats_or_null(weights);
  const float* added = floats_or_null(base);
  at::parallel_for(0, tokens, kTokenGrain, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      float* to = y.mutable_data_ptr<float>() + s * width;
      std::fill_n(to, width, 0.0f);
      for (int64_t j = s * k; j < (s + 1) * k; ++j) {
        const float* from = rows.const_data_ptr<float>() + row[j] * width;
        const float w = weight != nullptr ? weight[j] : 1.0f;
        for (int64_t c = 0; c < width; ++c) to[c] += w * from[c];
      }
      for (int64_t c = 0; added != nullptr && c < width; ++c)
        to[c] += added[s * base.stride(0) + c];
    }
  });
}

at::Tensor row_weights(const Routing& routing) {
  at::Tensor out = at::empty({routing.rows.numel()}, routing.weights.options());
  const int32_t* row = routing.rows.const_data_ptr<int32_t>();
  const float* weight = routing.weights.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  for (int64_t i = 0; i < out.numel(); ++i) to[row[i]] = weight[i];
  return out;
}

at::Tensor router_backward(const at::Tensor& logits, const Routing& routing,
                           const at::Tensor& dweight_rows, bool norm_topk_prob,
                           const ProbabilityGrad& dprobability) {
  const int64_t n = logits.size(1), k = routing.experts.size(1);
  at::Tensor dlogits = at::empty(logits.sizes(), logits.options());
  const int32_t* experts = routing.experts.const_data_ptr<int32_t>();
  const int32_t* rows = routing.rows.const_data_ptr<int32_t>();
  const float* dweight = dweight_rows.const_data_ptr<float>();
  const float* every = floats_or_null(dprobability.grad);
  at::parallel_for(0, logits.size(0), kTokenGrain, [&](int64_t begin, int64_t end) {
    std::vector<float> p(n), d(n);  // probabilities and the gradient at them
    for (int64_t t = begin; t < end; ++t) {
      softmax(logits.const_data_ptr<float>() + t * n, p.data(), n);
      std::fill(d.begin(), d.end(), 0.0f);
      float total = 0, dot = 0;
      for (int64_t i = t * k; i < (t + 1) * k; ++i) {
        d[experts[i]] = dweight[rows[i]];
        total += p[experts[i]];
        dot += dweight[rows[i]] * p[experts[i]];
      }
      float mean = 0;
      for (int64_t i = t * k; i < (t + 1) * k; ++i) {
        float& grad = d[experts[i]];
        if (norm_topk_prob) grad = (grad - dot / total) / total;
        mean += grad * p[experts[i]];
      }
      for (int64_t e = 0; every != nullptr && t < dprobability.tokens && e < n; ++e) {
        d[e] += every[e];
        mean += every[e] * p[e];
      }
      float* to = dlogits.mutable_data_ptr<float>() + t * n;
      for (int64_t e = 0; e < n; ++e) to[e] = p[e] * (d[e] - mean);
    }
  });
  return dlogits;
}

}  // namespace trireme::ops::cpu
