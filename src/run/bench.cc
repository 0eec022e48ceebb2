// trireme bench: the training step (forward, backward, clipping, AdamW) of a model folder or of a
// named shape with random weights, on random tokens. One JSON line: tokens per second, seconds by
// phase and kernel, memory beside its plan, and the bound of this device with the share of it that
// was reached. With --steps 0 only the reading of a model folder is timed.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "attention/block.h"
#include "base/error.h"
#include "base/result.h"
#include "base/rng.h"
#include "base/stopwatch.h"
#include "cli/outputs.h"
#include "config/shapes.h"
#include "data/packing.h"
#include "device/profile.h"
#include "engine/rates.h"
#include "io/file.h"
#include "model/adapter_views.h"
#include "plan/communication.h"
#include "plan/step_cost.h"
#include "run/deepspeed.h"
#include "run/prepare.h"
#include "run/ranks.h"
#include "run/verbs.h"
#include "state/host_memory.h"
#include "state/optimizer.h"
#include "train/memory_report.h"
#include "train/trainer.h"

namespace trireme::run {
namespace {

using config::Json;

constexpr config::Axis kCountedAxes[] = {config::Axis::kRing, config::Axis::kUlysses,
                                         config::Axis::kSequence, config::Axis::kShards};

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
// of them when there are no more than two. An operation that makes the host wait in a timed step
// throws, unless ranks share a device: their exchanges go through host memory.
struct Timing {
  std::vector<double> seconds, losses;
  int64_t driver_calls = 0;  // of the allocator, after the second step
  double median_seconds() const {
    return median({seconds.begin() + std::min<int64_t>(2, std::ssize(seconds) - 1), seconds.end()});
  }
};

Timing time_steps(const config::RunConfig& run, const device::Machine& machine,
                  train::TrainStep& step, const data::StepBatches& batches, const Ranks& ranks) {
  const dist::Group& data = ranks.mesh.group(config::Axis::kData);
  Timing timing;
  int64_t settled = 0;
  for (int64_t i = 0; i < run.steps; ++i) {
    const Stopwatch clock;
    train::TrainStep::Outcome outcome;
    {
      std::optional<device::NoSyncGuard> guard;
      if (i >= 2 && ranks.on_host.device == 1) guard.emplace(machine.device);
      outcome = step.run(batches, run.learning_rate);
    }
    device::synchronize(machine.device);
    timing.seconds.push_back(clock.seconds());
    const at::Tensor loss = outcome.loss();
    data.all_reduce(loss)->wait();
    timing.losses.push_back(loss.item<double>() / static_cast<double>(batches.trained_tokens));
    const int64_t calls = device::allocator_stats(machine.device).driver_calls;
    if (i < 2) settled = calls;
    timing.driver_calls = calls - settled;
  }
  return timing;
}

Json profile_json(const device::Profile& profile) {
  Json kernels = Json::array();
  for (const device::KernelTime& k : profile.kernels) {
    if (kernels.size() == 40) break;
    kernels.push_back({{"name", k.name}, {"calls", k.calls}, {"seconds", k.seconds}});
  }
  return {{"seconds", profile.seconds}, {"idle", profile.idle},   {"exposed", profile.exposed},
          {"phases", profile.phases},   {"kinds", profile.kinds}, {"kernels", kernels}};
}

Json rates_json(const plan::Rates& rates) {
  return {{"products", rates.products},
          {"grouped", rates.grouped},
          {"attention_forward", rates.attention_forward},
          {"attention_backward", rates.attention_backward},
          {"bytes", rates.bytes},
          {"link", rates.link}};
}

// The least cost of optimizer state on the host: seconds of copies (the state to the device and
// back, or gradients to the host and weights back) and of AdamW on the host (a rate measured for
// fp32 state on 16 cores, where memory is the bound).
Json host_optimizer_json(const layout::Model& model, const plan::MemoryPlan& plan,
                         const plan::Rates& rates) {
  const auto parameters = static_cast<double>(model.trained_layout().numel());
  const bool there = plan.request.update == config::OptimizerOffload::kCpu;
  const double bytes = there ? 4 * parameters : static_cast<double>(plan.optimizer_arena);
  return {{"bytes_one_way", bytes},
          {"copy_seconds", bytes / rates.link},
          {"host_adamw_seconds", rates.host_adamw * parameters}};
}

// The bound if everything were kept, and the bound with what the plan keeps; the latter also with
// the optimizer's memory accesses.
Json bound_json(const config::RunConfig& run, const layout::Model& model,
                const device::Machine& machine, const plan::MemoryPlan& plan,
                const std::vector<int64_t>& documents, int64_t trained, double seconds) {
  const plan::Rates rates = engine::measure_rates(model, machine, documents);
  const plan::Workload load = plan::Workload::of(documents);
  plan::StepCost keep = plan::model_cost(model, load, trained);
  keep.bytes = plan::optimizer_bytes(model.trained_layout(), run.master_weights, run.moments_dtype);
  plan::StepCost kept = keep;
  kept += plan::recompute_cost(model.spec, load, machine.format(), plan.execution.keep,
                               plan.execution.recomputed_layers());
  const double optimizer = keep.bytes / rates.bytes;
  const double keep_seconds = plan::seconds_at(keep, rates);
  const double kept_seconds = plan::seconds_at(kept, rates);
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

// Bytes on the device of weights, gradients and the optimizer's state.
int64_t static_bytes(const plan::MemoryTable& table) {
  using enum plan::RowKind;
  constexpr plan::RowKind kStatic[] = {kWeights,          kVisitingWeights, kAdapters, kGradients,
                                       kPassingGradients, kMasterWeights,   kMoments};
  int64_t bytes = 0;
  for (const plan::MemoryRow& row : table.rows()) {
    const bool counts = std::ranges::find(kStatic, row.kind) != std::end(kStatic);
    if (counts && row.where == plan::Residence::kDevice) bytes += row.bytes;
  }
  return bytes;
}

Json host_json(const plan::MemoryPlan& plan, const state::HostMemory& host, int64_t stored) {
  return {{"planned", plan.table.total(plan::Residence::kHost)},
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

Json memory_json(const device::Machine& machine, const plan::MemoryPlan& plan,
                 const device::Phases& phases) {
  const device::Phases::Peak total = phases.total();
  const int64_t peak = total.bytes(machine.device);
  return {{"planned", plan.table.total()},
          {"budget", machine.budget},
          {"peak", peak},
          {"peak_beyond_weights_gradients_optimizer", peak - static_bytes(plan.table)},
          {"reserved_peak", total.reserved},
          {"device_used", device::used_bytes(machine.device)},
          {"host_peak", total.host},
          {"phases", train::peaks_json(phases)},
          {"rows", plan.table.json()}};
}

Json tiles_json(const plan::ExecutionPlan& plan) {
  Json kept = {{"attention", 0}, {"qkv", 0}, {"heads", 0}, {"mid", 0}, {"mlp", 0}};
  for (const plan::Keep& k : plan.keep) {
    kept["attention"] = kept["attention"].get<int>() + k.attention;
    kept["qkv"] = kept["qkv"].get<int>() + k.qkv;
    kept["heads"] = kept["heads"].get<int>() + k.heads;
    kept["mid"] = kept["mid"].get<int>() + k.mid;
    kept["mlp"] = kept["mlp"].get<int>() + k.mlp;
  }
  const auto on_host = [&](plan::Residence plan::SavedResidence::*part) {
    return std::ranges::count(plan.saved, plan::Residence::kHost, part);
  };
  return {{"rows", plan.tiles.rows},
          {"loss", plan.tiles.loss},
          {"layers_that_keep", kept},
          {"layers_on_host",
           {{"input", on_host(&plan::SavedResidence::input)},
            {"attention", on_host(&plan::SavedResidence::attention)}}},
          {"layers_recomputed", plan.recomputed_layers()}};
}

// This rank's communication volume in a step: counted and predicted.
Json communication_json(const layout::CommunicationTable& counted,
                        const plan::CommunicationRequest& request, const dist::Mesh& mesh) {
  const layout::CommunicationTable predicted = plan::predict_communication(request);
  const auto steps = static_cast<double>(request.steps);
  Json rows = Json::array();
  for (const auto& [row, volume] : counted) {
    const auto found = predicted.find(row);
    const layout::Volume expected = found == predicted.end() ? layout::Volume{} : found->second;
    const dist::Group& group = mesh.group(row.first);
    Json counts = {{"collective", layout::collective_name(row.second)},
                   {"group", config::axis_name(row.first)},
                   {"ranks", group.size()},
                   {"calls", static_cast<double>(volume.calls) / steps},
                   {"bytes", static_cast<double>(volume.bytes) / steps},
                   {"predicted_calls", static_cast<double>(expected.calls) / steps},
                   {"predicted_bytes", static_cast<double>(expected.bytes) / steps}};
    if (group.backend() == dist::Backend::kGloo) {
      counts["overlapped_seconds"] = volume.overlapped / steps;
      counts["exposed_seconds"] = volume.exposed / steps;
    }
    rows.push_back(std::move(counts));
  }
  Json paper = Json::object();
  for (const config::Axis axis : kCountedAxes) {
    const int64_t bytes = plan::paper_bytes(request, axis);
    if (bytes > 0) paper[config::axis_name(axis)] = static_cast<double>(bytes) / steps;
  }
  return {{"rows", rows}, {"paper_bytes", paper}};
}

Json bench_steps(const config::RunConfig& run, const layout::Model& model,
                 const device::Machine& machine, std::unique_ptr<state::Weights> weights,
                 const plan::MemoryPlan& plan, state::HostMemory& host, device::Phases& phases,
                 const Ranks& ranks) {
  const data::DataRank rank = train::data_rank(ranks.mesh);
  data::StepBatches batches;
  batches.mine.push_back(random_batch(model.spec.vocab, run.length, run.documents,
                                      static_cast<uint64_t>(run.seed + rank.index)));
  batches.tokens = run.length * run.documents * rank.ranks;
  batches.trained_tokens = batches.mine[0].trained_tokens * rank.ranks;
  auto step = std::make_unique<train::TrainStep>(run, model, machine, *weights, plan.execution,
                                                 host, phases, ranks.mesh,
                                                 state::Zero(ranks.mesh, run.zero_stage));
  const layout::CommunicationTable before = dist::counted_communication(ranks.mesh, kCountedAxes);
  const Timing timing = time_steps(run, machine, *step, batches, ranks);
  const layout::CommunicationTable counted =
      layout::since(before, dist::counted_communication(ranks.mesh, kCountedAxes));
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
    result["communication"] = communication_json(counted,
                                                 {&model,
                                                  machine.format(),
                                                  &plan.execution,
                                                  run.optimizer_in_backward,
                                                  ranks.mesh.spec(),
                                                  state::Zero(ranks.mesh, run.zero_stage),
                                                  ranks.mesh.group(config::Axis::kRing).index(),
                                                  ranks.mesh.group(config::Axis::kUlysses).index(),
                                                  {batches.mine[0].document_starts},
                                                  run.steps},
                                                 ranks.mesh);
  }
  result["host_adamw_seconds"] = step->optimizer().host_seconds() / static_cast<double>(run.steps);
  if (run.profile) {
    result["profile"] =
        profile_json(device::profile(machine, [&] { step->run(batches, run.learning_rate); }));
  }
  if (!run.timeline.empty()) {
    // Only the first rank writes its timeline; the others take the same step.
    const auto one_step = [&] { step->run(batches, run.learning_rate); };
    ranks.first() ? device::write_timeline(machine, run.timeline, one_step) : one_step();
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
  std::optional<model::ModelFolder> folder;
  std::optional<layout::Model> shape;
  layout::Model& model() { return folder ? static_cast<layout::Model&>(*folder) : *shape; }

  explicit Subject(const config::RunConfig& run) {
    if (run.model.empty() == run.shape.empty()) {
      fail("give either --shape (qwen3-8b, ...) or --model with a Hugging Face model folder");
    }
    if (run.shape.empty()) {
      folder.emplace(run, run);
    } else {
      config::ModelSpec spec = config::known_shape(run.shape, run.rope_scaling);
      if (run.layers > 0) spec.layers = run.layers;
      if (spec.moe) spec.sparse_layers.assign(spec.layers, true);
      shape.emplace(std::move(spec));
      if (const auto lora = config::lora_of(run)) {
        shape->adapters = layout::make_adapters(shape->spec, *lora);
      }
    }
  }
};

std::unique_ptr<state::Weights> make_weights(const config::RunConfig& run, Subject& subject,
                                             const device::Machine& machine,
                                             const plan::MemoryPlan& plan, state::HostMemory& host,
                                             device::Phases& phases, const state::Zero& zero) {
  const state::WeightHomes homes = host.homes(plan, machine, /*training=*/run.steps > 0);
  if (subject.folder) return load_weights(run, *subject.folder, machine, homes, phases, zero);
  const auto scope = phases.enter("load");
  const layout::Model& model = subject.model();
  auto weights = std::make_unique<state::Weights>(model, machine, homes, zero);
  weights->randomise(static_cast<uint64_t>(run.seed));
  if (model.adapters) {
    weights->fill_adapters([&](std::vector<at::Tensor>& blocks) {
      model::initialise_adapters(*model.adapters, static_cast<uint64_t>(run.seed), blocks);
    });
  }
  return weights;
}

Json bench(const config::RunConfig& run, Subject& subject, const device::Machine& machine,
           const plan::MemoryPlan& plan, device::Phases& phases, const Ranks& ranks) {
  const layout::Model& model = subject.model();
  state::HostMemory host(plan, machine.device);
  const Stopwatch clock;
  auto weights = make_weights(run, subject, machine, plan, host, phases,
                              state::Zero(ranks.mesh, run.zero_stage));
  device::synchronize(machine.device);
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

// Only a timeline is replaced. Kineto's begin so, and one that was cut off may be empty.
void check_timeline(const config::RunConfig& run) {
  cli::check_output(run, config::kBench, "timeline", run.timeline);
  static constexpr std::string_view kMark = "\n  {\n    \"schemaVersion\":";
  std::error_code error;
  if (!std::filesystem::exists(std::filesystem::symlink_status(run.timeline, error))) return;
  const std::string begin = io::read_beginning(run.timeline, kMark.size());
  if (begin.empty() || begin == kMark) return;
  fail("--timeline {}: exists, and no bench wrote it: choose another", run.timeline);
}

int bench(const config::RunConfig& run, const Ranks& ranks) {
  if (ranks.first() && !run.timeline.empty()) check_timeline(run);
  Subject subject(run);
  layout::Model& model = subject.model();
  const bool training = run.steps > 0;
  const device::Machine machine = prepare_machine(run, ranks);
  const plan::MemoryPlan plan =
      plan_run(run, model, machine, {run.length * run.documents, run.length, run.documents},
               training, training, ranks.mesh);
  device::Phases phases(machine.device);
  const auto location = ranks.report_location([&] { return phases.where(); });
  Json result;
  train::explain_out_of_memory(plan, phases, machine,
                               [&] { result = bench(run, subject, machine, plan, phases, ranks); });
  if (ranks.first()) print_result("{}\n", config::json_text(result));
  return 0;
}

}  // namespace

int run_bench(cli::Arguments arguments) {
  if (cli::help_shown(config::kBench, arguments)) return 0;
  config::RunConfig run = cli::parse_options(config::kBench, arguments);
  apply_deepspeed(run, config::kBench);
  return run_on_ranks(run, config::kBench, [&](const Ranks& ranks) { return bench(run, ranks); });
}

}  // namespace trireme::run
