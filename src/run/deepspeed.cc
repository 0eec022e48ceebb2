#include "run/deepspeed.h"

#include "base/log.h"
#include "run/ranks.h"

namespace trireme::run {

std::optional<deepspeed::DeepSpeed> apply_deepspeed(config::RunConfig& run, config::Verb verb) {
  if (run.deepspeed.empty()) return std::nullopt;
  const int64_t ranks = launched_ranks();
  deepspeed::DeepSpeed deepspeed =
      deepspeed::apply_deepspeed(config::read_text(run.deepspeed), run.deepspeed, verb, ranks, run);
  for (const std::string& line : deepspeed::lines(deepspeed.done)) {
    log("deepspeed, done: {}", line);
  }
  for (const std::string& line : deepspeed::lines(deepspeed.no_effect)) {
    log("deepspeed, no effect here: {}", line);
  }
  return deepspeed;
}

}  // namespace trireme::run
