#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <unordered_set>

namespace trireme::engine {
namespace {

void penalise(std::vector<float>& logits, const std::vector<int64_t>& seen, double penalty) {
  if (penalty == 1.0) return;
  const auto p = static_cast<float>(penalty);
  for (int64_t id : std::unordered_set<int64_t>(seen.begin(), seen.end())) {
    logits[id] = logits[id] < 0 ? logits[id] * p : logits[id] / p;
  }
}

struct Candidate {
  int64_t id;
  double probability;
};

// Tokens by falling probability, cut to top-k and then to the smallest set that holds top-p.
std::vector<Candidate> candidates(const std::vector<float>& logits,
                                  const SamplingOptions& options) {
  std::vector<int64_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return logits[a] > logits[b]; });
  if (options.top_k > 0 && options.top_k < static_cast<int64_t>(order.size())) {
    order.resize(options.top_k);
  }
  std::vector<Candidate> list;
  double total = 0;
  for (int64_t id : order) {
    const double weight = std::exp((logits[id] - logits[order[0]]) / options.temperature);
    list.push_back({id, weight});
    total += weight;
  }
  double sum = 0;
  size_t kept = 0;
  while (kept < list.size() && (kept == 0 || sum < options.top_p * total)) {
    sum += list[kept++].probability;
  }
  list.resize(kept);
  for (Candidate& c : list) c.probability /= sum;
  return list;
}

}  // namespace

int64_t sample_token(const at::Tensor& logits, const std::vector<int64_t>& seen,
                     const SamplingOptions& options, Rng& rng) {
  const at::Tensor host = logits.to(at::kCPU).contiguous();
  const float* data = host.const_data_ptr<float>();
  std::vector<float> values(data, data + host.numel());
  penalise(values, seen, options.repetition_penalty);
  if (options.temperature == 0) {
    return std::max_element(values.begin(), values.end()) - values.begin();
  }
  const std::vector<Candidate> list = candidates(values, options);
  double draw = rng.uniform();
  for (const Candidate& c : list) {
    draw -= c.probability;
    if (draw < 0) return c.id;
  }
  return list.back().id;
}

}  // namespace trireme::engine
