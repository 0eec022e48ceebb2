// trireme bench: the training step (forward, backward, clipping, AdamW) of a model folder or of a
// named shape with random weights, on random tokens. One JSON line: tokens per second, seconds by
// phase and kernel, memory beside its plan, and the bound of this device with the share of it that
// was reached. With --steps 0 only the reading of a model folder is timed.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "attention/block.h"
#include "base/error.h"
#include "base/rng.h"
#include "base/stopwatch.h"
#include "cli/prepare.h"
#include "cli/ranks.h"
#include "cli/verbs.h"
#include "config/shapes.h"
#include "data/packing.h"
#include "engine/memory_report.h"
#include "engine/optimizer.h"
#include "engine/profile.h"
#include "engine/traffic.h"
#include "engine/trainer.h"
#include "engine/work.h"

namespace trireme::cli {
namespace {

using config::Json;

constexpr config::Span kCounted[] = {config::Span::kRing, config::Span::kUlysses,
                                     config::Span::kSequence, config::Span::kShards};

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

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// The first step builds plans and grows pools, the second settles them; those after are timed, all
// of them when there are no more than two. Whatever makes the host wait in a timed step throws, but
// where ranks share a device: what they exchange goes through host memory.
struct Timing {
  std::vector<double> seconds, losses;
  int64_t driver_calls = 0;  // of the allocator, after the second step
  double median_seconds() const {
    return median({seconds.begin() + std::min<int64_t>(2, std::ssize(seconds) - 1), seconds.end()});
  }
};

Timing time_steps(const config::RunConfig& run, const engine::Machine& machine,
                  engine::TrainStep& step, const engine::StepBatches& batches, const Ranks& ranks) {
  const dist::Group& data = ranks.mesh.group(config::Span::kData);
  Timing timing;
  int64_t settled = 0;
  for (int64_t i = 0; i < run.steps; ++i) {
    const Stopwatch clock;
    engine::TrainStep::Outcome outcome;
    {
      std::optional<engine::NoSyncGuard> guard;
      if (i >= 2 && ranks.neighbours.device == 1) guard.emplace(machine.device);
      outcome = step.run(batches, run.learning_rate);
    }
    engine::synchronize(machine.device);
    timing.seconds.push_back(clock.seconds());
    data.all_reduce(outcome.loss)->wait();
    timing.losses.push_back(outcome.loss.item<double>() /
                            static_cast<double>(batches.trained_tokens));
    const int64_t calls = engine::allocator_stats(machine.device).driver_calls;
    if (i < 2) settled = calls;
    timing.driver_calls = calls - settled;
  }
  return timing;
}

Json profile_json(const engine::Profile& profile) {
  Json kernels = Json::array();
  for (const engine::KernelTime& k : profile.kernels) {
    if (kernels.size() == 40) break;
    kernels.push_back({{"name", k.name}, {"calls", k.calls}, {"seconds", k.seconds}});
  }
  return {{"seconds", profile.seconds}, {"idle", profile.idle},   {"exposed", profile.exposed},
          {"phases", profile.phases},   {"kinds", profile.kinds}, {"kernels", kernels}};
}

Json rates_json(const engine::Rates& rates) {
  return {{"products", rates.products},
          {"grouped", rates.grouped},
          {"attention_forward", rates.attention_forward},
          {"attention_backward", rates.attention_backward},
          {"bytes", rates.bytes},
          {"link", rates.link}};
}

// What an optimizer's state on the host costs at least: by copies (of it there and back, or of
// gradients there and weights back), and by AdamW there (measured for fp32 state on 16 cores, where
// memory is the bound).
Json host_optimizer_json(const engine::Model& model, const engine::MemoryPlan& plan,
                         const engine::Rates& rates) {
  constexpr double kHostAdamW = 0.22e-9;  // seconds a parameter
  const auto parameters = static_cast<double>(model.trained_layout().numel());
  const bool there = plan.request.update == engine::UpdatePlace::kHost;
  const double bytes = there ? 4 * parameters : static_cast<double>(plan.optimizer_arena);
  return {{"bytes_one_way", bytes},
          {"copy_seconds", bytes / rates.link},
          {"host_adamw_seconds", kHostAdamW * parameters}};
}

// The bound with everything kept, and that of what the plan keeps; both with and without the
// optimizer's memory traffic.
Json bound_json(const config::RunConfig& run, const engine::Model& model,
                const engine::Machine& machine, const engine::MemoryPlan& plan,
                const std::vector<int64_t>& documents, int64_t trained, double seconds) {
  const engine::Rates rates = engine::measure_rates(model, machine, documents);
  engine::Work keep = engine::needed_work(model, documents, trained);
  keep.optimizer_bytes = engine::optimizer_bytes(model.trained_layout(), run.master_weights,
                                                 engine::moment_format(run.moments_dtype));
  engine::Work kept = keep;
  kept +=
      engine::repeated_work(model, documents, plan.execution.keep, plan.execution.segments.back());
  const double optimizer = keep.optimizer_bytes / rates.bytes;
  const double keep_seconds = engine::seconds_at(keep, rates);
  const double kept_seconds = engine::seconds_at(kept, rates);
  const auto tokens =
      static_cast<double>(std::accumulate(documents.begin(), documents.end(), int64_t{0}));
  return {{"rates", rates_json(rates)},
          {"keep_tokens_per_second", tokens / (keep_seconds - optimizer)},
          {"kept_tokens_per_second", tokens / (kept_seconds - optimizer)},
          {"kept_with_optimizer_tokens_per_second", tokens / kept_seconds},
          {"fraction_of_keep", (keep_seconds - optimizer) / seconds},
          {"fraction_of_kept", (kept_seconds - optimizer) / seconds},
          {"fraction_with_optimizer", kept_seconds / seconds},
          {"optimizer_on_host", host_optimizer_json(model, plan, rates)}};
}

int64_t static_bytes(const engine::MemoryTable& table) {
  int64_t bytes = 0;
  for (const engine::MemoryRow& row : table.rows()) {
    for (const char* name : {"weights", "weights on their way", "adapters", "gradients",
                             "gradients on their way", "master weights", "Adam moments"})
      if (row.name == name && row.where == engine::Where::kDevice) bytes += row.bytes;
  }
  return bytes;
}

Json host_json(const engine::MemoryPlan& plan, const engine::HostMemory& host, int64_t stored) {
  return {{"planned", plan.table.total(engine::Where::kHost)},
          {"budget", plan.request.activations.host_room},
          {"arena", host.activations.bytes()},
          {"stored", stored},
          {"pin_seconds", host.activations.pin_seconds()},
          {"optimizer_arena", host.optimizer.bytes()},
          {"optimizer_pin_seconds", host.optimizer.pin_seconds()},
          {"gradients_arena", host.gradients.bytes()},
          {"gradients_pin_seconds", host.gradients.pin_seconds()},
          {"layers_arena", host.layers.bytes()},
          {"layers_pin_seconds", host.layers.pin_seconds()}};
}

Json memory_json(const engine::Machine& machine, const engine::MemoryPlan& plan,
                 const engine::Phases& phases) {
  const engine::Phases::Peak total = phases.total();
  const int64_t peak = total.bytes(machine.device);
  return {{"planned", plan.table.total()},
          {"budget", machine.budget},
          {"peak", peak},
          {"peak_beyond_weights_gradients_optimizer", peak - static_bytes(plan.table)},
          {"reserved_peak", total.reserved},
          {"device_used", engine::used_bytes(machine.device)},
          {"host_peak", total.host},
          {"phases", engine::peaks_json(phases)},
          {"rows", plan.table.json()}};
}

Json tiles_json(const engine::ExecutionPlan& plan) {
  Json kept = {{"attention", 0}, {"qkv", 0}, {"heads", 0}, {"mid", 0}, {"mlp", 0}};
  for (const model::Keep& k : plan.keep) {
    kept["attention"] = kept["attention"].get<int>() + k.attention;
    kept["qkv"] = kept["qkv"].get<int>() + k.qkv;
    kept["heads"] = kept["heads"].get<int>() + k.heads;
    kept["mid"] = kept["mid"].get<int>() + k.mid;
    kept["mlp"] = kept["mlp"].get<int>() + k.mlp;
  }
  const auto on_host = [&](engine::Place engine::Places::*part) {
    return std::ranges::count(plan.places, engine::Place::kHost, part);
  };
  return {{"rows", plan.tiles.rows},
          {"loss", plan.tiles.loss},
          {"layers_that_keep", kept},
          {"layers_on_host",
           {{"input", on_host(&engine::Places::input)},
            {"attention", on_host(&engine::Places::attention)}}},
          {"layers_run_again", plan.segments.back()}};
}

// Of this rank, in a step: what was counted beside what arithmetic says.
Json traffic_json(const engine::TrafficTable& counted, const engine::TrafficRequest& request,
                  const dist::Mesh& mesh) {
  const engine::TrafficTable foreseen = engine::foresee_traffic(request);
  const auto steps = static_cast<double>(request.steps);
  Json rows = Json::array();
  for (const auto& [row, traffic] : counted) {
    const auto found = foreseen.find(row);
    const dist::Traffic expected = found == foreseen.end() ? dist::Traffic{} : found->second;
    const dist::Group& group = mesh.group(row.first);
    Json counts = {{"collective", dist::collective_name(row.second)},
                   {"group", config::span_name(row.first)},
                   {"ranks", group.size()},
                   {"calls", static_cast<double>(traffic.calls) / steps},
                   {"bytes", static_cast<double>(traffic.bytes) / steps},
                   {"foreseen_calls", static_cast<double>(expected.calls) / steps},
                   {"foreseen_bytes", static_cast<double>(expected.bytes) / steps}};
    if (group.wire() == dist::Wire::kGloo) {
      counts["overlapped_seconds"] = traffic.overlapped / steps;
      counts["exposed_seconds"] = traffic.exposed / steps;
    }
    rows.push_back(std::move(counts));
  }
  Json paper = Json::object();
  for (const config::Span span : kCounted) {
    const int64_t bytes = engine::paper_bytes(request, span);
    if (bytes > 0) paper[config::span_name(span)] = static_cast<double>(bytes) / steps;
  }
  return {{"rows", rows}, {"paper_bytes", paper}};
}

Json bench_steps(const config::RunConfig& run, const engine::Model& model,
                 const engine::Machine& machine, std::unique_ptr<engine::Weights> weights,
                 const engine::MemoryPlan& plan, engine::HostMemory& host, engine::Phases& phases,
                 const Ranks& ranks) {
  const engine::DataRank rank = engine::data_rank(ranks.mesh);
  engine::StepBatches batches;
  batches.mine.push_back(random_batch(model.spec.vocab, run.length, run.documents,
                                      static_cast<uint64_t>(run.seed + rank.index)));
  batches.tokens = run.length * run.documents * rank.ranks;
  batches.trained_tokens = batches.mine[0].trained_tokens * rank.ranks;
  auto step = std::make_unique<engine::TrainStep>(run, model, machine, *weights, plan.execution,
                                                  host, phases, ranks.mesh,
                                                  engine::Zero(ranks.mesh, run.zero_stage));
  const engine::TrafficTable before = engine::counted_traffic(ranks.mesh, kCounted);
  const Timing timing = time_steps(run, machine, *step, batches, ranks);
  const engine::TrafficTable counted =
      engine::since(before, engine::counted_traffic(ranks.mesh, kCounted));
  const auto tokens = static_cast<double>(batches.tokens);
  const double seconds = timing.median_seconds();
  Json result = {{"seconds", timing.seconds},
                 {"losses", timing.losses},
                 {"tokens_per_second", tokens / seconds},
                 {"driver_calls_after_second_step", timing.driver_calls},
                 {"memory", memory_json(machine, plan, phases)},
                 {"host_memory", host_json(plan, host, step->executor().stored_bytes())},
                 {"plan", tiles_json(plan.execution)}};
  if (ranks.mesh.spec().ranks() > 1) {
    result["traffic"] = traffic_json(counted,
                                     {&model,
                                      machine.dtype,
                                      &plan.execution,
                                      run.optimizer_in_backward,
                                      ranks.mesh.spec(),
                                      engine::Zero(ranks.mesh, run.zero_stage),
                                      ranks.mesh.group(config::Span::kRing).index(),
                                      ranks.mesh.group(config::Span::kUlysses).index(),
                                      {batches.mine[0].document_starts},
                                      run.steps},
                                     ranks.mesh);
  }
  result["host_adamw_seconds"] = step->optimizer().host_seconds() / static_cast<double>(run.steps);
  if (run.profile) {
    result["profile"] =
        profile_json(engine::profile(machine, [&] { step->run(batches, run.learning_rate); }));
  }
  if (!run.timeline.empty()) {
    // Of one rank; the others take the same step.
    const auto one_step = [&] { step->run(batches, run.learning_rate); };
    ranks.first() ? engine::write_timeline(machine, run.timeline, one_step) : one_step();
  }
  if (run.bound) {
    step.reset();
    weights.reset();
    const std::vector<int64_t> documents(run.documents, run.length);
    result["bound"] =
        bound_json(run, model, machine, plan, documents, batches.mine[0].trained_tokens, seconds);
  }
  return result;
}

// A model of a folder, or of a named shape.
struct Subject {
  std::optional<engine::ModelFolder> folder;
  std::optional<engine::Model> shape;
  engine::Model& model() { return folder ? static_cast<engine::Model&>(*folder) : *shape; }

  explicit Subject(const config::RunConfig& run) {
    if (run.model.empty() == run.shape.empty()) {
      fail("give either --shape (qwen3-8b, ...) or --model with a Hugging Face model folder");
    }
    if (run.shape.empty()) {
      folder.emplace(run);
    } else {
      config::ModelSpec spec = config::known_shape(run.shape);
      if (run.layers > 0) spec.layers = run.layers;
      if (spec.moe) spec.sparse_layers.assign(spec.layers, true);
      shape.emplace(std::move(spec));
      if (const auto lora = config::lora_of(run)) {
        shape->adapters = model::make_adapters(shape->spec, *lora);
      }
    }
  }
};

std::unique_ptr<engine::Weights> make_weights(const config::RunConfig& run, Subject& subject,
                                              const engine::Machine& machine,
                                              engine::HostMemory& host, engine::Phases& phases,
                                              const engine::Zero& zero) {
  const engine::WeightHomes homes = host.homes(run, machine, /*training=*/run.steps > 0);
  if (subject.folder) return load_weights(run, *subject.folder, machine, homes, phases, zero);
  const auto scope = phases.enter("load");
  const engine::Model& model = subject.model();
  auto weights = std::make_unique<engine::Weights>(model, machine, homes, zero);
  weights->randomise(static_cast<uint64_t>(run.seed));
  if (model.adapters) {
    weights->fill_adapters([&](std::vector<at::Tensor>& blocks) {
      model::initialise_adapters(*model.adapters, static_cast<uint64_t>(run.seed), blocks);
    });
  }
  return weights;
}

Json bench(const config::RunConfig& run, Subject& subject, const engine::Machine& machine,
           const engine::MemoryPlan& plan, engine::Phases& phases, const Ranks& ranks) {
  const engine::Model& model = subject.model();
  engine::HostMemory host(plan, machine.device);
  const Stopwatch clock;
  auto weights =
      make_weights(run, subject, machine, host, phases, engine::Zero(ranks.mesh, run.zero_stage));
  engine::synchronize(machine.device);
  Json result = {{"machine", machine.name},
                 {"attention", attention::kernel_names(machine.device.is_cuda(), machine.dtype)},
                 {"model", run.shape.empty() ? run.model : run.shape},
                 {"train", model.adapters ? "lora" : "full"},
                 {"length", run.length},
                 {"documents", run.documents},
                 {"load_seconds", clock.seconds()}};
  if (run.steps > 0) {
    result.update(bench_steps(run, model, machine, std::move(weights), plan, host, phases, ranks));
  }
  return result;
}

int bench(const config::RunConfig& run, const Ranks& ranks) {
  Subject subject(run);
  engine::Model& model = subject.model();
  const bool training = run.steps > 0;
  const engine::Machine machine = prepare_machine(run, ranks);
  const engine::MemoryPlan plan =
      plan_run(run, model, machine, {run.length * run.documents, run.length, run.documents},
               training, training, ranks.mesh);
  engine::Phases phases(machine.device);
  const auto telling = ranks.tell_where([&] { return phases.where(); });
  Json result;
  engine::explain_out_of_memory(
      plan, phases, machine, [&] { result = bench(run, subject, machine, plan, phases, ranks); });
  if (ranks.first()) fmt::print("{}\n", result.dump());
  return 0;
}

}  // namespace

int run_bench(Arguments arguments) {
  if (help_shown(config::kBench, arguments)) return 0;
  const config::RunConfig run = config::parse_command_line(config::kBench, arguments);
  return run_on_ranks(run, config::kBench, [&](const Ranks& ranks) { return bench(run, ranks); });
}

}  // namespace trireme::cli
