#include "engine/loader.h"

#include <algorithm>
#include <numeric>

namespace trireme::engine {
Epoch::Epoch(std::span<const data::TokenizedSample> samples, std::vector<std::vector<int64_t>> bins,
             int64_t batch_size, int64_t accumulation)
    : samples_(samples),
      bins_(std::move(bins)),
      batch_size_(batch_size),
      accumulation_(accumulation) {}

int64_t Epoch::steps() const {
  const int64_t each = batch_size_ * accumulation_;
  return (static_cast<int64_t>(bins_.size()) + each - 1) / each;
}

std::vector<data::PackedBatch> Epoch::batches(int64_t step) const {
  const auto count = static_cast<int64_t>(bins_.size());
  const int64_t begin = step * batch_size_ * accumulation_;
  const int64_t end = std::min(count, begin + batch_size_ * accumulation_);
  std::vector<data::PackedBatch> list;
  for (int64_t at = begin; at < end; at += batch_size_) {
    const auto bins = std::span(bins_).subspan(at, std::min(batch_size_, end - at));
    list.push_back(data::make_batch(samples_, bins));
  }
  return list;
}

Epoch training_epoch(std::span<const data::TokenizedSample> samples, const config::RunConfig& run,
                     int64_t epoch) {
  auto bins = data::plan_epoch(data::lengths_of(samples), run.max_length, run.packing,
                               /*shuffle=*/true, static_cast<uint64_t>(run.seed), epoch);
  return {samples, std::move(bins), run.batch_size, run.gradient_accumulation_steps};
}

Epoch evaluation_epoch(std::span<const data::TokenizedSample> samples,
                       const config::RunConfig& run) {
  auto bins = data::plan_epoch(data::lengths_of(samples), run.max_length, run.packing,
                               /*shuffle=*/false, 0, 0);
  return {samples, std::move(bins), run.eval_batch_size, 1};
}

BatchSize largest_batch(std::span<const data::TokenizedSample> samples,
                        const config::RunConfig& run, int64_t batch_size) {
  std::vector<int64_t> lengths = data::lengths_of(samples);
  if (lengths.empty()) return {};
  std::ranges::sort(lengths);
  const int64_t total = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  BatchSize size{0, lengths.back(), batch_size};
  size.tokens = std::min(total, batch_size * (run.packing ? run.max_length : size.longest));
  if (!run.packing) return size;
  size.documents = 0;
  int64_t tokens = 0;  // of the shortest documents
  for (const int64_t length : lengths) {
    tokens += length;
    if (tokens <= size.tokens) ++size.documents;
  }
  return size;
}

}  // namespace trireme::engine
