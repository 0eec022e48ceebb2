// trireme generate: a review for a user and a film of a data file, or the continuation of a prompt,
// on stdout.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "base/nearest.h"
#include "base/quote.h"
#include "base/result.h"
#include "config/generation_config.h"
#include "data/chat_template.h"
#include "data/review.h"
#include "data/sample.h"
#include "data/tokenizer.h"
#include "engine/generator.h"
#include "run/prepare.h"
#include "run/verbs.h"
#include "train/memory_report.h"

namespace trireme::run {
namespace {

using data::ReviewSet;
using data::SampleRef;

config::RunConfig parse(cli::Arguments arguments) {
  config::RunConfig run = cli::parse_options(config::kGenerate, arguments);
  cli::require(run.model, "model", "give the folder of a fine-tuned model");
  if (run.prompt.empty()) {
    cli::require(run.data_file, "data_file",
                 "give the reviews to write for a user of, or a --prompt to continue");
    if (run.film.empty() != run.user.empty()) {
      fail("--user and --film go together: give both, or neither for a validation sample");
    }
  }
  return run;
}

int64_t find_user(const ReviewSet& reviews, const std::string& name, const std::string& path) {
  std::vector<std::string> names;
  for (size_t i = 0; i < reviews.users.size(); ++i) {
    if (reviews.users[i].name == name) return static_cast<int64_t>(i);
    names.push_back(reviews.users[i].name);
  }
  fail("--user {}: not in {}{}", name, path, did_you_mean(name, names));
}

void check_film(const ReviewSet& reviews, const std::string& film, const std::string& path) {
  std::set<std::string> films;
  for (const data::User& user : reviews.users) {
    for (const data::Review& review : user.reviews) films.insert(review.film);
  }
  if (films.contains(film)) return;
  const std::vector<std::string> list(films.begin(), films.end());
  fail("--film {}: not in {}{}", film, path, did_you_mean(film, list));
}

// The user's review of the film, or a new one behind all others.
SampleRef find_review(ReviewSet& reviews, const config::RunConfig& run) {
  const int64_t user = find_user(reviews, run.user, run.data_file);
  check_film(reviews, run.film, run.data_file);
  std::vector<data::Review>& own = reviews.users[user].reviews;
  const auto found = std::ranges::find(own, run.film, &data::Review::film);
  const int64_t index = found - own.begin();
  if (found == own.end()) own.emplace_back().film = run.film;
  return {user, index};
}

SampleRef draw_validation_sample(const ReviewSet& reviews, const config::RunConfig& run) {
  const data::Split split = data::split_samples(reviews, run);
  if (split.validation.empty())
    fail("{}: no validation sample: give --user and --film", run.data_file);
  return split.validation[Rng(static_cast<uint64_t>(run.seed)).below(split.validation.size())];
}

std::vector<int64_t> review_prompt(const config::RunConfig& run, const data::Tokenizer& tokenizer,
                                   const data::ChatTemplate& chat) {
  ReviewSet reviews = data::read_reviews(run.data_file);
  const SampleRef ref =
      run.user.empty() ? draw_validation_sample(reviews, run) : find_review(reviews, run);
  data::User& user = reviews.users[ref.user];
  data::Review& review = user.reviews[ref.review];
  log("user {}, film {}, {} earlier reviews", escaped(user.name), escaped(review.film), ref.review);
  if (!review.text.empty()) log("the user's own words: {}", escaped(review.text));
  review.text.clear();  // what is to be written
  config::RunConfig budget = run;
  budget.max_length -= run.max_new_tokens;
  const data::SampleSet set = data::tokenize_samples(reviews, {ref}, budget, tokenizer, chat);
  const data::TokenizedSample& sample = set.samples.front();
  return {sample.tokens.begin(), sample.tokens.begin() + sample.trained_from};
}

std::vector<int64_t> plain_prompt(const config::RunConfig& run, const data::Tokenizer& tokenizer) {
  std::vector<int32_t> ids = tokenizer.encode(run.prompt);
  if (run.add_special_tokens) ids = tokenizer.with_special_tokens(std::move(ids));
  if (ids.empty()) fail("--prompt: the tokenizer makes no token of it");
  return {ids.begin(), ids.end()};
}

// The folder's generation_config.json: options that were not given, and where to stop.
void take_generation_config(config::RunConfig& run, std::vector<int64_t>& stop) {
  const auto config = config::read_generation_config(run.model, run);
  if (!config) return;
  stop = config->eos_ids;
  const auto tell = [](const std::vector<std::string>& values, const char* what) {
    if (!values.empty())
      log("generation_config.json: {} {}", escaped(fmt::format("{}", fmt::join(values, ", "))),
          what);
  };
  tell(config->used, "(options of the command line win)");
  tell(config->not_used, "not used: generate knows no such option");
  tell(config->unknown, "without effect: not known");
}

}  // namespace

int run_generate(cli::Arguments arguments) {
  if (cli::help_shown(config::kGenerate, arguments)) return 0;
  config::RunConfig run = parse(arguments);
  const model::ModelFolder model(run, run);
  std::vector<int64_t> stop = model.spec.eos_ids;
  take_generation_config(run, stop);
  const data::Tokenizer tokenizer(cli::tokenizer_folder(run));
  model::check_vocabulary(model, tokenizer.size(), tokenizer.folder());
  std::vector<int64_t> prompt;
  if (run.prompt.empty()) {
    const data::ChatTemplate chat(tokenizer.folder(), tokenizer, run.chat_template);
    stop.push_back(chat.end_of_turn());
    prompt = review_prompt(run, tokenizer, chat);
  } else {
    prompt = plain_prompt(run, tokenizer);
  }

  const device::Machine machine = device::prepare_machine(run, run);
  const auto tokens = static_cast<int64_t>(prompt.size()) + run.max_new_tokens;
  warn_of_length(model.spec, tokens, "the prompt with --max_new_tokens");
  const plan::MemoryPlan plan =
      plan_run(run, model, machine, {tokens, tokens}, /*training=*/false, /*optimizer=*/false);
  device::Phases phases(machine.device);
  std::vector<int64_t> answer;
  train::explain_out_of_memory(plan, phases, machine, [&] {
    const auto weights = load_weights(run, model, machine, /*homes=*/{}, phases);
    engine::Generator generator(model, *weights, machine.device);
    Rng rng(static_cast<uint64_t>(run.seed));
    answer =
        generator.generate(prompt, run.max_new_tokens, stop,
                           {run.temperature, run.top_k, run.top_p, run.repetition_penalty}, rng);
  });
  print_result("{}\n", tokenizer.decode({answer.begin(), answer.end()}, /*skip_special=*/true));
  return 0;
}

}  // namespace trireme::run
