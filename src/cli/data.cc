// trireme data: what a data file holds, what it becomes under the options, and one sample as the
// model sees it.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_set>

#include "base/error.h"
#include "base/result.h"
#include "cli/verbs.h"
#include "config/json.h"
#include "config/schema.h"
#include "data/chat_template.h"
#include "data/packing.h"
#include "data/review.h"
#include "data/sample.h"
#include "data/tokenizer.h"

namespace trireme::cli {
namespace {

using config::Json;
using data::ReviewSet;
using data::TokenizedSample;

config::RunConfig parse(Arguments arguments) {
  config::RunConfig run = parse_options(config::kData, arguments);
  require(run.data_file, "data_file", "give a CSV, a dmsc_v2 folder or a JSON file");
  run.tokenizer = tokenizer_folder(run);
  require(run.tokenizer, "tokenizer", "give a folder with tokenizer.json, or --model");
  return run;
}

// {reason: count} of both arrows.
Json dropped_json(const data::Tally& reviews, const data::Tally& samples) {
  Json json = Json::object();
  for (const data::Tally* tally : {&reviews, &samples}) {
    for (const auto& [reason, times] : *tally) json[reason] = times;
  }
  return json;
}

// The least value that at least `share` of the sorted values do not exceed (nearest rank).
int64_t percentile(const std::vector<int64_t>& sorted, double share) {
  const auto rank = static_cast<int64_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return sorted[std::max<int64_t>(rank, 1) - 1];
}

Json tokens_json(const std::vector<TokenizedSample>& samples) {
  std::vector<int64_t> lengths = data::lengths_of(samples);
  std::ranges::sort(lengths);
  int64_t trained = 0;
  for (const TokenizedSample& sample : samples) {
    trained += static_cast<int64_t>(sample.tokens.size()) - sample.trained_from;
  }
  return {{"min", lengths.front()},
          {"median", percentile(lengths, 0.5)},
          {"p90", percentile(lengths, 0.9)},
          {"p99", percentile(lengths, 0.99)},
          {"max", lengths.back()},
          {"total", std::accumulate(lengths.begin(), lengths.end(), int64_t{0})},
          {"trained", trained}};
}

// 1, 2 or 5 times a power of ten, so that `range` takes at most 12 steps.
int64_t histogram_step(int64_t range) {
  int64_t power = 1;
  while (true) {
    for (int64_t factor : {1, 2, 5}) {
      if (range / (factor * power) < 12) return factor * power;
    }
    power *= 10;
  }
}

// Bars [from, to) of equal width.
Json histogram_json(const std::vector<int64_t>& lengths) {
  const auto [least, most] = std::ranges::minmax(lengths);
  const int64_t step = histogram_step(most - least + 1);
  const int64_t first = least / step;
  std::vector<int64_t> counts(most / step - first + 1, 0);
  for (int64_t length : lengths) ++counts[length / step - first];
  Json bars = Json::array();
  for (size_t i = 0; i < counts.size(); ++i) {
    const int64_t from = (first + static_cast<int64_t>(i)) * step;
    bars.push_back({{"from", from}, {"to", from + step}, {"samples", counts[i]}});
  }
  return bars;
}

// How full the sequences are, packed and with one sample each.
Json packing_json(const std::vector<int64_t>& lengths, int64_t max_length, int64_t seed) {
  const auto bins = data::plan_epoch(lengths, max_length, true, true, seed, 0);
  const auto total =
      static_cast<double>(std::accumulate(lengths.begin(), lengths.end(), int64_t{0}));
  const auto size = static_cast<double>(max_length);
  return {{"sequences", bins.size()},
          {"packed_efficiency", total / (size * static_cast<double>(bins.size()))},
          {"padded_efficiency", total / (size * static_cast<double>(lengths.size()))}};
}

Json history_json(const std::vector<TokenizedSample>& samples) {
  int64_t shortened = 0, reviews = 0;
  for (const TokenizedSample& sample : samples) {
    shortened += sample.history_dropped > 0;
    reviews += sample.history_dropped;
  }
  return {{"samples", shortened}, {"reviews", reviews}};
}

// The sample of median length, decoded from its tokens: what the model sees, not what was meant.
Json sample_json(const ReviewSet& reviews, const std::vector<TokenizedSample>& samples,
                 const data::Tokenizer& tokenizer) {
  std::vector<const TokenizedSample*> order;
  for (const TokenizedSample& sample : samples) order.push_back(&sample);
  const auto middle = order.begin() + static_cast<ptrdiff_t>(order.size() / 2);
  std::ranges::nth_element(order, middle, {},
                           [](const TokenizedSample* s) { return s->tokens.size(); });
  const TokenizedSample& sample = **middle;
  const data::User& user = reviews.users[sample.ref.user];
  const auto border = sample.tokens.begin() + sample.trained_from;
  return {{"user", user.name},
          {"film", user.reviews[sample.ref.review].film},
          {"tokens", sample.tokens.size()},
          {"trained_from", sample.trained_from},
          {"prompt", tokenizer.decode({sample.tokens.begin(), border})},
          {"trained", tokenizer.decode({border, sample.tokens.end()})}};
}

size_t count_films(const ReviewSet& reviews) {
  std::unordered_set<std::string_view> films;
  for (const data::User& user : reviews.users) {
    for (const data::Review& review : user.reviews) films.insert(review.film);
  }
  return films.size();
}

size_t count_reviews(const ReviewSet& reviews) {
  size_t total = 0;
  for (const data::User& user : reviews.users) total += user.reviews.size();
  return total;
}

// How many of the samples are of the first refs; both in the same order, dropped ones missing from
// samples.
size_t count_of(const std::vector<data::SampleRef>& refs,
                const std::vector<TokenizedSample>& samples) {
  size_t found = 0;
  for (const data::SampleRef& ref : refs) {
    if (found == samples.size()) break;
    const data::SampleRef& next = samples[found].ref;
    found += next.user == ref.user && next.review == ref.review;
  }
  return found;
}

Json report(const config::RunConfig& run) {
  const data::Tokenizer tokenizer(run.tokenizer);
  const data::ChatTemplate chat(run.tokenizer, tokenizer, run.chat_template);
  const ReviewSet reviews = data::read_reviews(run.data_file);
  const data::Split split = data::split_samples(reviews, run);
  std::vector<data::SampleRef> refs = split.train;
  refs.insert(refs.end(), split.validation.begin(), split.validation.end());
  const data::SampleSet set =
      data::tokenize_samples(reviews, refs, run, tokenizer, chat, run.threads);
  const size_t train = count_of(split.train, set.samples);
  const std::vector<int64_t> lengths = data::lengths_of(set.samples);
  return {{"data_file", run.data_file},
          {"users", reviews.users.size()},
          {"films", count_films(reviews)},
          {"reviews", count_reviews(reviews)},
          {"samples", set.samples.size()},
          {"train", train},
          {"validation", set.samples.size() - train},
          {"dropped", dropped_json(reviews.dropped, set.dropped)},
          {"ablation_config", run.ablation_config},
          {"prompt_style", config::word(run.prompt_style)},
          {"chat_template", chat.name()},
          {"max_length", run.max_length},
          {"tokens", tokens_json(set.samples)},
          {"histogram", histogram_json(lengths)},
          {"history_dropped", history_json(set.samples)},
          {"packing", packing_json(lengths, run.max_length, run.seed)},
          {"sample", sample_json(reviews, set.samples, tokenizer)}};
}

// "12,345"
std::string number(const Json& value) {
  std::string digits = config::json_text(value);
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(digits.begin() + at, ',');
  }
  return digits;
}

void print_counts(const Json& json) {
  print_result("data       {}\n", json["data_file"].get<std::string>());
  print_result("reviews    {} by {} users of {} films\n", number(json["reviews"]),
               number(json["users"]), number(json["films"]));
  for (const auto& [reason, times] : json["dropped"].items()) {
    print_result("dropped    {}: {}\n", number(times), reason);
  }
  print_result("samples    {}: {} train, {} validation\n", number(json["samples"]),
               number(json["train"]), number(json["validation"]));
  print_result("prompt     {}, {}, chat template {}\n", json["ablation_config"].get<std::string>(),
               json["prompt_style"].get<std::string>(), json["chat_template"].get<std::string>());
}

void print_lengths(const Json& json) {
  const Json& tokens = json["tokens"];
  print_result("tokens     min {}, median {}, p90 {}, p99 {}, max {}; {} in all, {} trained\n",
               number(tokens["min"]), number(tokens["median"]), number(tokens["p90"]),
               number(tokens["p99"]), number(tokens["max"]), number(tokens["total"]),
               number(tokens["trained"]));
  int64_t tallest = 1;
  for (const Json& bar : json["histogram"])
    tallest = std::max(tallest, bar["samples"].get<int64_t>());
  for (const Json& bar : json["histogram"]) {
    const auto samples = bar["samples"].get<int64_t>();
    const int64_t width = (samples * 50 + tallest - 1) / tallest;
    print_result("  {:>9} - {:<9} {:>9} {}\n", number(bar["from"]),
                 number(bar["to"].get<int64_t>() - 1), number(samples), std::string(width, '#'));
  }
  const Json& history = json["history_dropped"];
  print_result(
      "shortened  {} samples lost {} of the oldest reviews of their history to max_length {}\n",
      number(history["samples"]), number(history["reviews"]), number(json["max_length"]));
  const Json& packing = json["packing"];
  print_result("packing    {} sequences of {} tokens, {:.1f} % full; one sample each: {:.1f} %\n",
               number(packing["sequences"]), number(json["max_length"]),
               100 * packing["packed_efficiency"].get<double>(),
               100 * packing["padded_efficiency"].get<double>());
}

void print_sample(const Json& sample) {
  print_result(
      "\nthe sample of median length: user {}, film {}, {} tokens; ⟦ ⟧ is what is trained\n\n",
      sample["user"].get<std::string>(), sample["film"].get<std::string>(),
      number(sample["tokens"]));
  print_result("{}⟦{}⟧\n", sample["prompt"].get<std::string>(),
               sample["trained"].get<std::string>());
}

}  // namespace

int run_data(Arguments arguments) {
  if (help_shown(config::kData, arguments)) return 0;
  const config::RunConfig run = parse(arguments);
  const Json json = report(run);
  if (run.json) {
    print_result("{}\n", config::json_text(json));
    return 0;
  }
  print_counts(json);
  print_lengths(json);
  print_sample(json["sample"]);
  return 0;
}

}  // namespace trireme::cli
