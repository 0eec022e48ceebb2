// trireme bench: seconds of a whole training step (forward, backward, clipping, AdamW) on random
// tokens, or with
// --steps 0 of reading the model only; one JSON line.
#include <fmt/format.h>

#include "base/rng.h"
#include "base/stopwatch.h"
#include "cli/prepare.h"
#include "cli/verbs.h"
#include "data/packing.h"
#include "engine/trainer.h"

namespace trireme::cli {
namespace {

// `documents` of `length` tokens, every token trained.
data::PackedBatch random_batch(int64_t vocab, int64_t length, int64_t documents, uint64_t seed) {
  Rng rng(seed);
  data::PackedBatch batch;
  for (int64_t d = 0; d < documents; ++d) {
    std::vector<int64_t> tokens(length);
    for (int64_t& token : tokens) token = static_cast<int64_t>(rng.below(vocab));
    data::append_document(batch, tokens, tokens);
  }
  return batch;
}

using config::Json;

// Seconds and loss of each step.
void time_steps(const config::RunConfig& run, const engine::ModelFolder& model,
                const engine::Machine& machine, engine::ResidentParams& params,
                const engine::ExecutionPlan& plan, Json& result) {
  engine::TrainStep step(run, model, machine, params, plan);
  const std::vector<data::PackedBatch> batches = {
      random_batch(model.spec.vocab, run.length, run.documents, static_cast<uint64_t>(run.seed))};
  for (int64_t i = 0; i < run.steps; ++i) {
    const Stopwatch clock;
    const auto outcome = step.run(batches, run.learning_rate);
    engine::synchronize(machine.device);
    result["seconds"].push_back(clock.seconds());
    result["losses"].push_back(outcome.loss.sum.item<double>() /
                               static_cast<double>(outcome.loss.tokens));
  }
}

}  // namespace

int run_bench(Arguments arguments) {
  if (help_shown(config::kBench, arguments)) return 0;
  const config::RunConfig run = config::parse_command_line(config::kBench, arguments);
  require(run.model, "model", "give a Hugging Face model folder");
  const engine::ModelFolder model(run.model);
  const engine::Machine machine = engine::prepare_machine(run);
  const bool training = run.steps > 0;
  const int64_t tokens = run.length * run.documents;
  const engine::MemoryPlan plan = plan_run(run, model, machine, tokens, training, training);
  const Stopwatch clock;
  const auto params = load_params(model, machine, training);
  Json result = {{"machine", machine.name},
                 {"tokens", tokens},
                 {"load_seconds", clock.seconds()},
                 {"seconds", Json::array()},
                 {"losses", Json::array()}};
  if (training) time_steps(run, model, machine, *params, plan.execution, result);
  result["peak_bytes"] = engine::peak_bytes(machine.device);
  result["planned_bytes"] = plan.table.total();
  result["memory"] = plan.table.json();
  fmt::print("{}\n", result.dump());
  return 0;
}

}  // namespace trireme::cli
