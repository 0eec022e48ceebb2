// Samples as tokens. History lines are tokenized once per user and only counted: line breaks are
// borders of the pre-tokenizers, so that lengths add up there to within a token or two. How many
// lines fit is decided on these sums; then the chosen prompt is rendered and encoded whole, which
// is what the model will see at generation, and its real length is checked. Cost: the user's text
// once, and each sample's own tokens.
#include "data/sample.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <limits>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "data/prompt.h"

namespace trireme::data {
namespace {

constexpr const char* kTargetTooLong = "review alone longer than max_length";
constexpr const char* kPromptTooLong = "prompt and review longer than max_length";

// One user's samples. Used by one thread.
class UserTokenizer {
 public:
  UserTokenizer(const ReviewSet& reviews, int64_t user, const config::SampleOptions& options,
                const PromptWriter& writer, const Tokenizer& tokenizer, const ChatTemplate& chat)
      : reviews_(reviews),
        user_(user),
        options_(options),
        writer_(writer),
        tokenizer_(tokenizer),
        chat_(chat),
        sums_{0} {}

  struct Result {
    TokenizedSample sample;         // without tokens when dropped
    const char* dropped = nullptr;  // why
    int64_t least = 0;              // tokens with neither history nor context
  };

  Result tokenize(SampleRef ref) {
    const std::vector<int32_t> answer = chat_.encode_answer(
        reviews_.users[user_].reviews[ref.review].text, options_.enable_thinking);
    const int64_t room = options_.max_length - static_cast<int64_t>(answer.size());
    Result result;
    result.sample.ref = ref;
    int64_t context = writer_.context_size(ref);
    std::vector<int32_t> prompt = encode(ref, 0, context);
    // Without any history and still too long: the oldest turns go, one by one.
    while (over(prompt, room) && context > 0) prompt = encode(ref, 0, --context);
    result.least = static_cast<int64_t>(prompt.size() + answer.size());
    if (over(prompt, room)) {
      result.dropped = room <= 0 ? kTargetTooLong : kPromptTooLong;
      return result;
    }
    int64_t shown = 0;
    if (writer_.history_size(ref) > 0) shown = add_history(ref, context, room, prompt);
    result.sample.history_dropped = writer_.history_size(ref) - shown;
    result.sample.trained_from = static_cast<int64_t>(prompt.size());
    result.sample.tokens = std::move(prompt);
    result.sample.tokens.insert(result.sample.tokens.end(), answer.begin(), answer.end());
    return result;
  }

 private:
  static bool over(const std::vector<int32_t>& prompt, int64_t room) {
    return static_cast<int64_t>(prompt.size()) > room;
  }

  std::vector<int32_t> encode(SampleRef ref, int64_t history, int64_t context) const {
    return chat_.encode_prompt({{chat_.prompt_role(), writer_.text(ref, history, context)}},
                               options_.enable_thinking);
  }

  // Tokens of the user's first `count` reviews as history lines.
  int64_t sum(int64_t count) {
    const std::vector<Review>& reviews = reviews_.users[user_].reviews;
    while (static_cast<int64_t>(sums_.size()) <= count) {
      const std::string line = writer_.history_line(reviews[sums_.size() - 1]);
      const TextRun run{line, Author::kUser};
      sums_.push_back(sums_.back() + static_cast<int64_t>(tokenizer_.encode({&run, 1}, {}).size()));
    }
    return sums_[count];
  }

  // The most of the latest `most` reviews before ref whose lines take at most `room` tokens, by the
  // sums.
  int64_t fitting(SampleRef ref, int64_t most, int64_t room) {
    int64_t low = 0, high = most;
    while (low < high) {
      const int64_t middle = (low + high + 1) / 2;
      if (sum(ref.review) - sum(ref.review - middle) <= room) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }

  // Puts as much of the history as fits into `prompt`, which holds none yet; returns how many
  // reviews.
  int64_t add_history(SampleRef ref, int64_t context, int64_t room, std::vector<int32_t>& prompt) {
    int64_t shown =
        fitting(ref, writer_.history_size(ref), room - static_cast<int64_t>(prompt.size()));
    while (shown > 0) {
      std::vector<int32_t> fuller = encode(ref, shown, context);
      if (!over(fuller, room)) {
        prompt = std::move(fuller);
        return shown;
      }
      // The section's own header was not in the sums: drop what is over, at least one review.
      const int64_t over_by = static_cast<int64_t>(fuller.size()) - room;
      const int64_t lines = sum(ref.review) - sum(ref.review - shown);
      shown = fitting(ref, shown - 1, lines - over_by);
    }
    return 0;
  }

  const ReviewSet& reviews_;
  int64_t user_;
  const config::SampleOptions& options_;
  const PromptWriter& writer_;
  const Tokenizer& tokenizer_;
  const ChatTemplate& chat_;
  std::vector<int64_t> sums_;  // sums_[i]: tokens of the first i history lines
};

// Runs body(i) for i in [0, count) on `threads` threads; the first exception is thrown again here.
template <typename Body>
void for_each_parallel(int64_t count, int64_t threads, const Body& body) {
  std::atomic<int64_t> next{0};
  std::exception_ptr error;
  std::mutex mutex;
  const auto work = [&] {
    try {
      for (int64_t i = next++; i < count; i = next++) body(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      next = count;
    }
  };
  std::vector<std::jthread> pool;
  for (int64_t i = 1; i < std::min(threads, count); ++i) pool.emplace_back(work);
  work();
  pool.clear();  // joins
  if (error) std::rethrow_exception(error);
}

// Borders of the runs of one user in refs: 0, ..., refs.size().
std::vector<int64_t> user_borders(const std::vector<SampleRef>& refs) {
  std::vector<int64_t> borders{0};
  for (size_t i = 1; i <= refs.size(); ++i) {
    if (i == refs.size() || refs[i].user != refs[i - 1].user)
      borders.push_back(static_cast<int64_t>(i));
  }
  return borders;
}

}  // namespace

SampleSet tokenize_samples(const ReviewSet& reviews, const std::vector<SampleRef>& refs,
                           const config::SampleOptions& options, const Tokenizer& tokenizer,
                           const ChatTemplate& chat, int64_t threads) {
  SampleSet set;
  if (refs.empty()) return set;
  const PromptWriter writer(reviews, options);
  std::vector<UserTokenizer::Result> results(refs.size());
  const std::vector<int64_t> borders = user_borders(refs);
  const int64_t cores = std::max<int64_t>(1, std::thread::hardware_concurrency());
  for_each_parallel(
      static_cast<int64_t>(borders.size()) - 1, threads > 0 ? threads : cores, [&](int64_t i) {
        UserTokenizer user(reviews, refs[borders[i]].user, options, writer, tokenizer, chat);
        for (int64_t j = borders[i]; j < borders[i + 1]; ++j) results[j] = user.tokenize(refs[j]);
      });
  int64_t least = std::numeric_limits<int64_t>::max();
  for (UserTokenizer::Result& result : results) {
    least = std::min(least, result.least);
    if (result.dropped != nullptr) {
      count(set.dropped, result.dropped);
    } else {
      set.samples.push_back(std::move(result.sample));
    }
  }
  if (set.samples.empty()) {
    fail(
        "max_length {}: none of {} samples fits; the shortest needs {} tokens (without history): "
        "use "
        "--max_length {} or more",
        options.max_length, refs.size(), least, least);
  }
  return set;
}

}  // namespace trireme::data
