#include "data/loader.h"

#include <algorithm>
#include <numeric>

namespace trireme::data {

namespace {

PackedBatch no_targets() {
  PackedBatch batch;
  append_document(batch, std::vector<int64_t>{0}, std::vector<int64_t>{kIgnored});
  return batch;
}

}  // namespace

Epoch::Epoch(std::span<const TokenizedSample> samples, std::vector<std::vector<int64_t>> bins,
             int64_t batch_size, int64_t accumulation, DataRank rank, int64_t done)
    : samples_(samples),
      bins_(std::move(bins)),
      batch_size_(batch_size),
      step_size_(batch_size * accumulation * rank.ranks),
      rank_(rank),
      done_(std::min(done, std::ssize(bins_))) {}

int64_t Epoch::first_step() const { return (done_ + step_size_ - 1) / step_size_; }

int64_t Epoch::steps() const {
  return first_step() + (std::ssize(bins_) - done_ + step_size_ - 1) / step_size_;
}

int64_t Epoch::done_after(int64_t step) const {
  return std::min(std::ssize(bins_), done_ + (step + 1 - first_step()) * step_size_);
}

StepBatches Epoch::batches(int64_t step) const {
  const int64_t begin = done_after(step - 1), end = done_after(step);
  StepBatches list;
  int64_t turn = 0;  // the rank whose micro-batch it is
  for (int64_t at = begin; at < end; at += batch_size_, turn = (turn + 1) % rank_.ranks) {
    const auto bins = std::span(bins_).subspan(at, std::min(batch_size_, end - at));
    PackedBatch batch = make_batch(samples_, bins);
    list.tokens += std::ssize(batch.tokens);
    list.trained_tokens += batch.trained_tokens;
    if (turn == rank_.index) list.mine.push_back(std::move(batch));
  }
  if (turn > 0 && rank_.index >= turn) list.mine.push_back(no_targets());
  return list;
}

Epoch training_epoch(std::span<const TokenizedSample> samples, const config::SampleOptions& options,
                     const config::TrainingOptions& training, int64_t epoch, DataRank rank,
                     int64_t done) {
  auto bins = plan_epoch(lengths_of(samples), options.max_length, options.packing,
                         /*shuffle=*/true, static_cast<uint64_t>(training.seed), epoch);
  return {samples, std::move(bins), training.batch_size, training.gradient_accumulation_steps, rank,
          done};
}

Epoch evaluation_epoch(std::span<const TokenizedSample> samples,
                       const config::SampleOptions& options, int64_t eval_batch_size,
                       DataRank rank) {
  auto bins = plan_epoch(lengths_of(samples), options.max_length, options.packing,
                         /*shuffle=*/false, 0, 0);
  return {samples, std::move(bins), eval_batch_size, 1, rank};
}

BatchSize largest_batch(std::span<const TokenizedSample> samples,
                        const config::SampleOptions& options, int64_t batch_size) {
  std::vector<int64_t> lengths = lengths_of(samples);
  if (lengths.empty()) return {};
  std::ranges::sort(lengths);
  const int64_t total = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  BatchSize size{0, lengths.back(), batch_size};
  size.tokens = std::min(total, batch_size * (options.packing ? options.max_length : size.longest));
  if (!options.packing) return size;
  size.documents = 0;
  int64_t tokens = 0;  // of the shortest documents
  for (const int64_t length : lengths) {
    tokens += length;
    if (tokens <= size.tokens) ++size.documents;
  }
  return size;
}

}  // namespace trireme::data
