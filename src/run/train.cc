// trireme train: fine-tunes a Hugging Face model on the samples of a data file.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "attention/block.h"
#include "base/error.h"
#include "base/exit_status.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/units.h"
#include "base/version.h"
#include "cli/outputs.h"
#include "data/chat_template.h"
#include "data/review.h"
#include "data/tokenizer.h"
#include "dist/gather_texts.h"
#include "run/deepspeed.h"
#include "run/prepare.h"
#include "run/ranks.h"
#include "run/resume.h"
#include "run/verbs.h"
#include "state/host_memory.h"
#include "state/saved_state.h"
#include "train/memory_report.h"
#include "train/trainer.h"

namespace trireme::run {
namespace {

using config::Json;

config::RunConfig parse(cli::Arguments arguments) {
  config::RunConfig run = cli::parse_options(config::kTrain, arguments);
  cli::require(run.model, "model", "give a Hugging Face model folder, or model.path in --config");
  cli::require(run.data_file, "data_file",
               "give a CSV or JSON of reviews, or data.train_path in --config");
  cli::require(run.output_dir, "output_dir", "give a folder for the result");
  return run;
}

void log_dropped(const data::Tally& tally) {
  for (const auto& [reason, times] : tally) log("left out {}: {}", times, reason);
}

train::TrainingSamples read_samples(const config::RunConfig& run,
                                    const data::Tokenizer& tokenizer) {
  const data::ChatTemplate chat(tokenizer.folder(), tokenizer, run.chat_template);
  const data::ReviewSet reviews = data::read_reviews(run.data_file);
  const data::Split split = data::split_samples(reviews, run);
  log_dropped(reviews.dropped);
  if (split.train.empty())
    fail("{}: no sample is left to train on: lower --val_ratio", run.data_file);
  data::SampleSet train =
      data::tokenize_samples(reviews, split.train, run, tokenizer, chat, run.threads);
  data::SampleSet validation =
      data::tokenize_samples(reviews, split.validation, run, tokenizer, chat, run.threads);
  log_dropped(train.dropped);
  log_dropped(validation.dropped);
  return {std::move(train.samples), std::move(validation.samples)};
}

data::BatchSize largest_of(const config::RunConfig& run, const train::TrainingSamples& samples) {
  const data::BatchSize train = data::largest_batch(samples.train, run, run.batch_size);
  const data::BatchSize validation =
      data::largest_batch(samples.validation, run, run.eval_batch_size);
  return {std::max(train.tokens, validation.tokens), std::max(train.longest, validation.longest),
          std::max(train.documents, validation.documents)};
}

Json ranks_json(const config::MeshSpec& mesh, int64_t zero_stage) {
  return {{"ranks", mesh.ranks()},
          {"data", mesh.data},
          {"ring", mesh.ring},
          {"ulysses", mesh.ulysses},
          {"zero_stage", zero_stage}};
}

std::string how_shared(const config::MeshSpec& mesh) {
  return mesh.ring == 1 ? "" : fmt::format(" (ring {} x Ulysses {})", mesh.ring, mesh.ulysses);
}

Json run_json(const config::RunConfig& run, const model::ModelFolder& model,
              const device::Machine& machine, const plan::MemoryPlan& plan,
              const train::TrainingSamples& samples,
              const std::optional<deepspeed::DeepSpeed>& deepspeed, const Ranks& ranks,
              const train::OutputFolder& output) {
  const io::Manifest& manifest = output.manifest();
  Json json = {
      {"trireme", {{"version", manifest.version}, {"commit", manifest.commit}}},
      {"run", manifest.run},
      {"options", config::to_json(run, config::kTrain)},
      {"model",
       {{"family", config::family_name(model.spec.family)},
        {"parameters", model.layout.numel()},
        {"trained", model.trained_layout().numel()}}},
      {"machine", machine.name},
      {"ranks", ranks_json(ranks.mesh.spec(), run.zero_stage)},
      {"attention", attention::kernel_names(machine.device.is_cuda(), machine.dtype)},
      {"samples", {{"train", samples.train.size()}, {"validation", samples.validation.size()}}},
      {"memory", plan.table.json()}};
  if (deepspeed) json["deepspeed"] = deepspeed::to_json(*deepspeed);
  return json;
}

// Each rank writes its part of a checkpoint into the first rank's folder. Its lock file is a token
// that they must all see.
void check_shared_folder(const config::RunConfig& run, const train::OutputFolder& output,
                         const Ranks& ranks) {
  if (run.save_only_model || ranks.mesh.control().size() == 1) return;
  const dist::Group& control = ranks.mesh.control();
  dist::gather_texts("", control);  // from here on it is there
  const std::vector<std::string> tokens = dist::gather_texts(output.lock_text(), control);
  for (size_t rank = 1; rank < tokens.size(); ++rank) {
    if (tokens[rank] == tokens.front()) continue;
    fail(
        "--output_dir {}: rank {} does not see what rank 0 has written there: give a folder that "
        "all machines share, or --save_only_model true",
        output.path(), rank);
  }
}

// What config.json adds to the loss or takes from a gradient, which nobody sees in the options.
void log_terms(const config::RunConfig& run, const model::ModelFolder& model,
               const config::MeshSpec& mesh) {
  const config::ModelSpec& spec = model.spec;
  if (spec.balanced()) {
    log("output_router_logits: each of the {} micro-batches of a step adds {:g} "
        "(router_aux_loss_coef) times the loss that balances its experts",
        run.gradient_accumulation_steps * mesh.data, *spec.moe->balance_coefficient);
  }
  const bool trained = model.trained_layout().blocks[model.layout.embedding()].numel > 0;
  if (spec.padding_row && trained) {
    log("pad_token_id {}: its embedding gets no gradient from texts that have the token, as in "
        "transformers; --train_padding_row trains it",
        *spec.padding_row);
  }
}

train::TrainingResult train(const config::RunConfig& run, const model::ModelFolder& model,
                            const device::Machine& machine, const plan::MemoryPlan& plan,
                            const train::TrainingSamples& samples, train::OutputFolder& output,
                            const Json& about, const Resumption& resumed, io::Record record,
                            device::Phases& phases, const Ranks& ranks) {
  state::HostMemory host(plan, machine.device);  // pinned while the model is read
  const state::Zero zero(ranks.mesh, run.zero_stage);
  const auto weights =
      load_weights(run, model, machine, host.homes(plan, machine, /*training=*/true), phases, zero,
                   resumed.record.has_value());
  train::TrainStep step(run, model, machine, *weights, plan.execution, host, phases, ranks.mesh,
                        zero);
  if (resumed.record) {
    const auto scope = phases.enter("load");
    state::load_state(io::StateFiles(resumed.folder), model.trained_layout(), weights->trained(),
                      step.optimizer());
    weights->updated();
  }
  catch_interrupts();  // there is something to save from now on
  if (ranks.first()) {
    output.begin(about, resumed.here && resumed.record ? resumed.record->metrics_bytes : 0);
  }
  const io::Progress* done = resumed.record ? &resumed.record->progress : nullptr;
  train::RunLog run_log(ranks.first() ? output.metrics_path() : "",
                        train::planned_steps(run, samples, train::data_rank(ranks.mesh)),
                        done != nullptr ? done->steps : 0);
  const train::CheckpointSources sources{model.trained_layout(), weights->trained(),
                                         step.optimizer(), zero};
  std::optional<train::Snapshot> snapshot;
  if (plan.snapshot_arena > 0) {
    snapshot.emplace(sources, host.checkpoint, machine.device, plan.request.snapshot,
                     ranks.first());
  }
  train::CheckpointWriter writer(io::posix(), output, sources, ranks.mesh,
                                 snapshot ? &*snapshot : nullptr);
  train::Trainer trainer(run, samples, step, machine, plan, ranks.mesh, output, writer, run_log,
                         std::move(record));
  if (done != nullptr) trainer.resume(*done, resumed.here);
  return trainer.run();
}

int finish(const train::TrainingResult& result, const train::OutputFolder& output) {
  if (result.interrupted_by != 0) return saved_after(result.interrupted_by);
  if (result.loss_before) {
    log("validation loss {:.4f} before, {:.4f} after {} steps (the best kept)", *result.loss_before,
        *result.loss_best, result.steps);
  }
  log("the model: {}", output.path());
  return 0;
}

int train(const config::RunConfig& run, const std::optional<deepspeed::DeepSpeed>& deepspeed,
          const Ranks& ranks) {
  if (ranks.first()) cli::check_output(run, config::kTrain, "output_dir", run.output_dir);
  const model::ModelFolder model(run, run);
  const data::Tokenizer tokenizer(cli::tokenizer_folder(run));
  model::check_vocabulary(model, tokenizer.size(), tokenizer.folder());
  const train::TrainingSamples samples = read_samples(run, tokenizer);
  const device::Machine machine = prepare_machine(run, ranks);
  const data::BatchSize largest = largest_of(run, samples);
  log("{} parameters ({}) on {}; {} training and {} validation samples, the longest has {} tokens",
      model.layout.numel(), config::family_name(model.spec.family), machine.name,
      samples.train.size(), samples.validation.size(), largest.longest);
  if (ranks.first()) warn_of_length(model.spec, largest.longest, "the longest sample");
  if (ranks.mesh.spec().ranks() > 1) {
    const config::MeshSpec& mesh = ranks.mesh.spec();
    log("{} ranks: {} with sequences of their own x {} that share each{}; ZeRO stage {}",
        mesh.ranks(), mesh.data, mesh.sequence(), how_shared(mesh), run.zero_stage);
  }
  log_terms(run, model, ranks.mesh.spec());
  const plan::MemoryPlan plan = plan_run(run, model, machine, largest, true, true, ranks.mesh);
  log("memory of {}:\n{}", ranks.mesh.spec().ranks() > 1 ? "each rank" : "this run", plan.text());
  if (run.optimizer_in_backward && run.max_grad_norm > 0) {
    log("optimizer in backward: gradients are clipped {}",
        run.clip_in_backward == config::ClipInBackward::kLayer
            ? "layer by layer, each by its own norm"
            : "by the norm of the step before, in the first step each layer by its own");
  }

  train::OutputFolder output(
      io::posix(), run, model,
      {.version = version(), .commit = commit(), .kind = "", .run = io::random_name()});
  if (ranks.first()) output.prepare();
  check_shared_folder(run, output, ranks);
  io::Record record{.progress = {},
                    .identity = identity_of(run, model, samples),
                    .options = config::to_json(run, config::kTrain)};
  const Resumption resumed = find_resumption(run, output, record.identity, ranks);
  if (ranks.first() && resumed.here) output.go_on(resumed.run);
  if (resumed.kind == Resumption::Kind::kFinished || resumed.kind == Resumption::Kind::kPlaces) {
    if (ranks.first() && resumed.kind == Resumption::Kind::kPlaces) output.finish();
    log("--resume auto: the run in {} has ended: its result is there", output.path());
    return 0;
  }
  const Json about = run_json(run, model, machine, plan, samples, deepspeed, ranks, output);
  device::Phases phases(machine.device);
  const auto location = ranks.report_location([&] { return phases.where(); });
  train::TrainingResult result;
  train::explain_out_of_memory(plan, phases, machine, [&] {
    result = train(run, model, machine, plan, samples, output, about, resumed, std::move(record),
                   phases, ranks);
  });
  if (result.interrupted_by == 0) log("{}", train::memory_report(plan, phases, machine));
  return finish(result, output);
}

}  // namespace

int run_train(cli::Arguments arguments) {
  if (cli::help_shown(config::kTrain, arguments)) return 0;
  config::RunConfig run = parse(arguments);
  const std::optional<deepspeed::DeepSpeed> deepspeed = apply_deepspeed(run, config::kTrain);
  train::check_optimizer_in_backward(run);
  return run_on_ranks(run, config::kTrain,
                      [&](const Ranks& ranks) { return train(run, deepspeed, ranks); });
}

}  // namespace trireme::run
