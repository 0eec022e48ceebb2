// Which reviews are samples, and which of them validate. A pure function of the reviews and the
// options.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/rng.h"
#include "data/sample.h"

namespace trireme::data {
namespace {

using UserSamples = std::vector<std::vector<SampleRef>>;  // per user, in time order

// The last `most` reviews of a user, or `most` drawn at random (seeded per user, so that another
// user's reviews do not change the draw); in time order either way.
std::vector<SampleRef> select(int64_t user, int64_t reviews, int64_t most,
                              const config::SampleOptions& options) {
  std::vector<int64_t> chosen(reviews);
  std::iota(chosen.begin(), chosen.end(), 0);
  if (most < reviews && options.sample_strategy == config::SampleStrategy::kRandom) {
    Rng rng(Rng(static_cast<uint64_t>(options.sample_seed)).next() ^ static_cast<uint64_t>(user));
    rng.shuffle(chosen);
    chosen.resize(most);
    std::ranges::sort(chosen);
  } else if (most < reviews) {
    chosen.erase(chosen.begin(), chosen.end() - most);
  }
  std::vector<SampleRef> refs;
  for (int64_t review : chosen) refs.push_back({user, review});
  return refs;
}

UserSamples select_all(const ReviewSet& reviews, const config::SampleOptions& options) {
  const int64_t limit = options.one_sample_per_user ? 1 : options.max_samples_per_user;
  UserSamples samples;
  for (const User& user : reviews.users) {
    const auto count = static_cast<int64_t>(user.reviews.size());
    samples.push_back(select(samples.size(), count, limit > 0 ? limit : count, options));
  }
  return samples;
}

std::vector<int64_t> shuffled_users(size_t users, const config::SampleOptions& options) {
  std::vector<int64_t> order(users);
  std::iota(order.begin(), order.end(), 0);
  Rng(static_cast<uint64_t>(options.sample_seed)).shuffle(order);
  return order;
}

// How many samples should validate: the nearest to the share, at least one, never all.
int64_t validation_target(int64_t total, double ratio) {
  if (ratio <= 0 || total < 2) return 0;
  return std::clamp<int64_t>(std::llround(ratio * total), 1, total - 1);
}

// Per user, how many of the last samples validate. A user's share is rarely whole: what rounding
// down leaves is carried to the next user of a seeded order, so that the sum meets the target
// although most users give 0 or 1.
std::vector<int64_t> validation_by_time(const UserSamples& samples, int64_t total,
                                        const config::SampleOptions& options) {
  const int64_t target = validation_target(total, options.val_ratio);
  std::vector<int64_t> counts(samples.size(), 0);
  int64_t seen = 0, given = 0;
  for (int64_t user : shuffled_users(samples.size(), options)) {
    seen += samples[user].size();
    // floor(seen * target / total) in integers: exact, and the last user brings it to target.
    const auto due = static_cast<int64_t>(static_cast<__int128>(seen) * target / total);
    counts[user] = due - given;
    given = due;
  }
  return counts;
}

// Whole users, in a seeded order, as long as the sum comes no further from the target; where every
// user is too large for that, the smallest.
std::vector<int64_t> validation_by_user(const UserSamples& samples, int64_t total,
                                        const config::SampleOptions& options) {
  const int64_t target = validation_target(total, options.val_ratio);
  std::vector<int64_t> counts(samples.size(), 0);
  int64_t given = 0;
  for (int64_t user : shuffled_users(samples.size(), options)) {
    const auto count = static_cast<int64_t>(samples[user].size());
    if (2 * given + count > 2 * target) continue;
    counts[user] = count;
    given += count;
  }
  if (given == 0 && target > 0 && samples.size() > 1) {
    const auto smallest = std::ranges::min_element(samples, {}, &std::vector<SampleRef>::size);
    counts[smallest - samples.begin()] = static_cast<int64_t>(smallest->size());
  }
  return counts;
}

}  // namespace

Split split_samples(const ReviewSet& reviews, const config::SampleOptions& options) {
  const UserSamples samples = select_all(reviews, options);
  int64_t total = 0;
  for (const auto& user : samples) total += user.size();
  const std::vector<int64_t> validating = options.split == config::SplitBy::kUser
                                              ? validation_by_user(samples, total, options)
                                              : validation_by_time(samples, total, options);
  Split split;
  for (size_t user = 0; user < samples.size(); ++user) {
    const auto border = samples[user].end() - validating[user];
    split.train.insert(split.train.end(), samples[user].begin(), border);
    split.validation.insert(split.validation.end(), border, samples[user].end());
  }
  return split;
}

}  // namespace trireme::data
