#include "data/packing.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "base/error.h"
#include "base/rng.h"

namespace trireme::data {
namespace {

constexpr size_t kWindow =
    4096;  // samples packed together: enough to fill bins, few enough to stay shuffled

using Bins = std::vector<std::vector<int64_t>>;

// The first bin with room, in O(log n): a tree whose nodes hold the most room below them. All bins
// start empty, so that opening the next bin is the same search.
class FirstFit {
 public:
  FirstFit(size_t bins, int64_t room) : leaves_(std::bit_ceil(bins)), room_(2 * leaves_, room) {}

  size_t place(int64_t length) {
    size_t node = 1;
    while (node < leaves_) node = room_[2 * node] >= length ? 2 * node : 2 * node + 1;
    const size_t bin = node - leaves_;
    room_[node] -= length;
    while (node /= 2) room_[node] = std::max(room_[2 * node], room_[2 * node + 1]);
    return bin;
  }

 private:
  size_t leaves_;
  std::vector<int64_t> room_;
};

// First-fit decreasing: at most 11/9 of the fewest bins possible, and one (Johnson 1973).
void pack_window(std::vector<int64_t> window, std::span<const int64_t> lengths, int64_t max_length,
                 Bins& bins) {
  std::ranges::stable_sort(window, [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
  FirstFit fit(window.size(), max_length);
  Bins packed(window.size());
  for (int64_t sample : window) packed[fit.place(lengths[sample])].push_back(sample);
  for (auto& bin : packed) {
    if (!bin.empty()) bins.push_back(std::move(bin));
  }
}

}  // namespace

void append_document(PackedBatch& batch, std::span<const int64_t> tokens,
                     std::span<const int64_t> labels) {
  TRIREME_CHECK(tokens.size() == labels.size() && !tokens.empty(), "{} tokens, {} labels",
                tokens.size(), labels.size());
  if (batch.document_starts.empty()) batch.document_starts.push_back(0);
  batch.tokens.insert(batch.tokens.end(), tokens.begin(), tokens.end());
  batch.targets.insert(batch.targets.end(), labels.begin() + 1, labels.end());
  batch.targets.push_back(kIgnored);  // after the last token comes another document
  batch.document_starts.push_back(static_cast<int64_t>(batch.tokens.size()));
  batch.trained_tokens += std::count_if(labels.begin() + 1, labels.end(),
                                        [](int64_t label) { return label != kIgnored; });
  ++batch.samples;
}

std::vector<int64_t> lengths_of(std::span<const TokenizedSample> samples) {
  std::vector<int64_t> lengths;
  lengths.reserve(samples.size());
  for (const auto& sample : samples) lengths.push_back(static_cast<int64_t>(sample.tokens.size()));
  return lengths;
}

std::vector<std::vector<int64_t>> plan_epoch(std::span<const int64_t> lengths, int64_t max_length,
                                             bool packing, bool shuffle, uint64_t seed,
                                             int64_t epoch) {
  for (int64_t length : lengths) {
    TRIREME_CHECK(0 < length && length <= max_length, "length {} of at most {}", length,
                  max_length);
  }
  // Hashed before the epoch comes in: epoch 1 of seed 2 is not epoch 2 of seed 1.
  Rng rng(Rng(seed).next() ^ static_cast<uint64_t>(epoch));
  std::vector<int64_t> order(lengths.size());
  std::iota(order.begin(), order.end(), 0);
  if (shuffle) rng.shuffle(order);
  Bins bins;
  if (!packing) {
    for (int64_t sample : order) bins.push_back({sample});
    return bins;
  }
  for (size_t at = 0; at < order.size(); at += kWindow) {
    const auto begin = order.begin() + static_cast<ptrdiff_t>(at);
    const auto end = order.begin() + static_cast<ptrdiff_t>(std::min(at + kWindow, order.size()));
    pack_window({begin, end}, lengths, max_length, bins);
  }
  // A window's bins come out with the longest samples first; the order of training must not depend
  // on length.
  if (shuffle) rng.shuffle(bins);
  return bins;
}

PackedBatch make_batch(std::span<const TokenizedSample> samples,
                       std::span<const std::vector<int64_t>> bins) {
  PackedBatch batch;
  for (const std::vector<int64_t>& bin : bins) {
    for (int64_t index : bin) {
      const TokenizedSample& sample = samples[index];
      const std::vector<int64_t> tokens(sample.tokens.begin(), sample.tokens.end());
      std::vector<int64_t> labels = tokens;
      std::fill_n(labels.begin(), sample.trained_from, kIgnored);
      append_document(batch, tokens, labels);
    }
  }
  return batch;
}

}  // namespace trireme::data
