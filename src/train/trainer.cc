#include "train/trainer.h"

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/stopwatch.h"
#include "dist/gather_texts.h"
#include "train/memory_report.h"

namespace trireme::train {
namespace {

// Ends a pass of the executor between two layers.
struct Interrupted {
  int signal;
};

// Steps that take longer are given up when a signal comes: torchrun kills 30 seconds after SIGTERM,
// and the state is still to be written. Then ranks ask each other before each layer, an exchange of
// some bytes over the host (0.1 ms on one machine): nothing beside a layer of such a step.
constexpr double kLongStep = 5;

constexpr double kNotYet = std::numeric_limits<double>::quiet_NaN();

constexpr int64_t kMostSkipped = 3;  // steps in a row: more of them are no accident
constexpr const char* kWhatToDo = "try a lower --learning_rate or more --warmup_steps";

state::AdamWOptions adamw_options(const config::RunConfig& run, const device::Machine& machine) {
  return {run.adam_beta1,
          run.adam_beta2,
          run.adam_epsilon,
          run.weight_decay,
          run.max_grad_norm,
          run.moments_dtype,
          static_cast<uint64_t>(run.seed),
          state::optimizer_offload(run, machine),
          run.clip_in_backward == config::ClipInBackward::kLayer,
          state::host_grads(run, machine)};
}

std::unique_ptr<state::GradStore> make_step_grads(const config::RunConfig& run,
                                                  const layout::Model& model,
                                                  const device::Machine& machine,
                                                  state::AdamW& optimizer, device::HostArena& arena,
                                                  const state::Zero& zero) {
  const layout::ModelLayout& layout = model.trained_layout();
  const bool tied = model.spec.tied;
  if (run.optimizer_in_backward) {
    return std::make_unique<state::FusedGrads>(layout, tied, machine.device,
                                               engine::overwritten_blocks(model), optimizer, zero);
  }
  if (state::host_grads(run, machine)) {
    return std::make_unique<state::HostGrads>(layout, tied, machine.device,
                                              engine::overwritten_blocks(model), arena, zero);
  }
  return engine::make_grads(model, machine.device, zero);
}

// Whether `progress` crossed a multiple of `every` on its way from `before`.
bool crossed(double before, double progress, double every) {
  constexpr double kRounding = 1e-9;
  return every > 0 &&
         std::floor(progress / every + kRounding) > std::floor(before / every + kRounding);
}

}  // namespace

void check_optimizer_in_backward(const config::RunConfig& run) {
  if (!run.optimizer_in_backward || run.gradient_accumulation_steps == 1) return;
  fail(
      "--optimizer_in_backward: gradients are gone after each micro-batch, but "
      "--gradient_accumulation_steps is {}: use 1, and a larger --batch_size",
      run.gradient_accumulation_steps);
}

int64_t planned_steps(const config::RunConfig& run, const TrainingSamples& samples,
                      data::DataRank rank) {
  if (run.max_steps > 0) return run.max_steps;
  return data::training_epoch(samples.train, run, run, 0, rank).steps() * run.max_epochs;
}

int64_t step_size(const config::TrainingOptions& training, data::DataRank rank) {
  return training.batch_size * training.gradient_accumulation_steps * rank.ranks;
}

data::DataRank data_rank(const dist::Mesh& mesh) {
  const dist::Group& group = mesh.group(config::Axis::kData);
  return {group.index(), group.size()};
}

TrainStep::TrainStep(const config::RunConfig& run, const layout::Model& model,
                     const device::Machine& machine, state::Weights& weights,
                     const plan::ExecutionPlan& plan, state::HostMemory& host,
                     device::Phases& phases, const dist::Mesh& mesh, const state::Zero& zero)
    : phases_(phases),
      weights_(weights),
      seed_(static_cast<uint64_t>(run.seed)),
      rank_(data_rank(mesh)),
      executor_(model, weights, machine.device, plan, host.activations, phases, mesh),
      optimizer_(model.trained_layout(), weights.trained(), machine.device,
                 adamw_options(run, machine), {&host.optimizer, &host.gradients}, zero),
      grads_(make_step_grads(run, model, machine, optimizer_, host.gradients, zero)) {}

TrainStep::Outcome TrainStep::run(const data::StepBatches& batches, double learning_rate) {
  TRIREME_CHECK(batches.trained_tokens > 0);
  phases_.at_step(++steps_);
  const double scale = 1.0 / static_cast<double>(batches.trained_tokens);
  optimizer_.begin(learning_rate);
  grads_->clear();
  Outcome outcome;
  for (const data::PackedBatch& batch : batches.mine) {
    // The seed depends on the micro-batch's number in the run, not on the rank that computes it.
    const int64_t number = micro_batches_ + rank_.index;
    micro_batches_ += rank_.ranks;
    const uint64_t seed = Rng(seed_ + static_cast<uint64_t>(number)).next();
    grads_->begin_pass(&batch == &batches.mine.back());
    const engine::LossSum loss = executor_.forward_backward(batch, scale, *grads_, seed);
    outcome.losses.push_back(loss.sum);
    outcome.router.add(loss.router);
  }
  const auto scope = phases_.enter("optimizer");
  outcome.grad_norm = grads_->update(optimizer_);
  weights_.updated();
  return outcome;
}

void TrainStep::resume(const io::Progress& progress) {
  steps_ = progress.steps;
  micro_batches_ = progress.micro_batches;
  optimizer_.resume(progress.steps, progress.norm.value_or(kNotYet));
}

at::Tensor TrainStep::Outcome::loss() const {
  at::Tensor sum = at::zeros_like(losses.front());
  for (const at::Tensor& loss : losses) sum += loss;
  return sum;
}

Trainer::Trainer(const config::RunConfig& run, const TrainingSamples& samples, TrainStep& step,
                 const device::Machine& machine, const plan::MemoryPlan& plan,
                 const dist::Mesh& mesh, OutputFolder& output, CheckpointWriter& writer,
                 RunLog& log, io::Record record)
    : run_(run),
      samples_(samples),
      step_(step),
      machine_(machine),
      plan_(plan),
      mesh_(mesh),
      rank_(data_rank(mesh)),
      output_(output),
      writer_(writer),
      log_(log),
      record_(std::move(record)),
      progress_(record_.progress),
      schedule_{run.lr_scheduler_type, run.learning_rate, run.warmup_steps, 0, run.warmup_type},
      pacing_(machine.device),
      window_router_(step_.executor().model().spec, machine.device) {
  progress_ = {};
  progress_.step_size = step_size(run, rank_);
  progress_.data_ranks = rank_.ranks;
  progress_.planned_steps = planned_steps(run, samples, rank_);
  schedule_.total = progress_.planned_steps;
  step_.executor().call_between_layers([this](bool in_backward) { between_layers(in_backward); });
}

void Trainer::resume(const io::Progress& progress, bool saved_here) {
  const io::Progress fresh = std::exchange(progress_, progress);
  progress_.step_size = fresh.step_size;
  progress_.data_ranks = fresh.data_ranks;
  progress_.planned_steps = fresh.planned_steps;
  const bool same_steps = progress.step_size == fresh.step_size;
  if (run_.max_steps == 0 && !same_steps) {  // as many more as are left of the epochs
    const double left = 1 - progress.epochs / static_cast<double>(run_.max_epochs);
    progress_.planned_steps =
        progress.steps + std::llround(left * static_cast<double>(fresh.planned_steps));
  }
  schedule_.total = progress_.planned_steps;
  step_.resume(progress_);
  if (saved_here) saved_at_ = progress_.steps;
  const auto ranks = static_cast<size_t>(mesh_.control().size());
  if (progress.data_ranks != fresh.data_ranks || progress.windows.size() != ranks) {
    // Nobody here has these sums: the next report begins with this step.
    progress_.window_trained = progress_.window_tokens = progress_.window_steps = 0;
    progress_.window_seconds = 0;
    return;
  }
  const io::Window& mine = progress_.windows[static_cast<size_t>(mesh_.rank())];
  window_loss_ = mine.loss;
  window_router_.set(mine.router_loss, mine.router_micro_batches, mine.router_choices);
}

bool Trainer::ended() const {
  if (interrupted_by_ != 0 || progress_.stopped_early) return true;
  return run_.max_steps > 0 ? progress_.steps >= run_.max_steps
                            : progress_.epoch >= run_.max_epochs;
}

TrainingResult Trainer::run() {
  settle();
  while (!ended()) train_epoch();
  finish_saving();
  const auto result = [&] {
    return TrainingResult{progress_.steps, progress_.loss_before, progress_.loss_best,
                          interrupted_by_};
  };
  if (interrupted_by_ != 0) return result();
  if (progress_.skipped_steps == progress_.steps) {
    fail("all {} steps were skipped, no weight was changed: there is no result: {}",
         progress_.steps, kWhatToDo);
  }
  if (progress_.window_trained > 0) report();
  if (progress_.skipped_steps > 0) {
    warn("{} of {} steps were skipped, see metrics.jsonl", progress_.skipped_steps,
         progress_.steps);
  }
  if (progress_.evaluated_at != progress_.steps) evaluate();
  if (interrupted_by_ != 0) return result();
  // Without validation samples the last weights are the result. Nothing comes after it: it is not
  // tried again.
  if (!progress_.loss_best) {
    device::synchronize(machine_.device);
    if (const auto outcome = writer_.save_best(); !outcome.error.empty()) fail("{}", outcome.error);
  }
  if (mesh_.rank() == 0) output_.finish();
  return result();
}

bool Trainer::saved(const CheckpointWriter::Outcome& outcome) {
  if (outcome.error.empty()) {
    failed_saves_ = 0;
    return true;
  }
  ++failed_saves_;
  if (failed_saves_ > run_.save_failures_allowed || interrupted_by_ != 0) {
    fail("{}", outcome.error);
  }
  warn("not saved, {} of {} times in a row that --save_failures_allowed allows: {}", failed_saves_,
       run_.save_failures_allowed, outcome.error);
  return false;
}

bool Trainer::save_best() {
  device::synchronize(machine_.device);  // masters may be on their way to the host
  return saved(writer_.save_best());
}

void Trainer::save_checkpoint(const char* why) {
  finish_saving();
  if (saved_at_ == progress_.steps) return;
  const Stopwatch clock;
  device::synchronize(machine_.device);
  progress_.windows = all_windows();
  record_.metrics_bytes = output_.metrics_bytes();
  since_save_ = {};
  // Where a signal ends the run, nothing comes beside which it could be written.
  if (writer_.in_background() && !run_.save_only_model && interrupted_by_ == 0) {
    writer_.start(record_);
    save_seconds_ = clock.seconds();
    return;
  }
  checkpoint_ended(writer_.save(record_, run_.save_only_model), why);
}

void Trainer::checkpoint_ended(const CheckpointWriter::Outcome& outcome, const std::string& why) {
  if (!saved(outcome)) return;
  log_.line(why + outcome.folder);
  saved_at_ = outcome.step;
}

void Trainer::advance_saving() {
  if (const auto outcome = writer_.advance()) {
    checkpoint_ended(*outcome, fmt::format("training waited {:.2f} s, saved ", save_seconds_));
  }
}

void Trainer::finish_saving() {
  while (writer_.running()) advance_saving();
}

io::Window Trainer::window() const {
  io::Window mine{.loss = window_loss_};
  const model::RouterLoad& load = window_router_.load();
  if (!load.choices.defined()) return mine;
  const at::Tensor choices = load.choices.to(at::kCPU).contiguous();
  mine.router_loss = load.loss.item<double>();
  mine.router_micro_batches = load.micro_batches;
  mine.router_choices.assign(choices.const_data_ptr<double>(),
                             choices.const_data_ptr<double>() + choices.numel());
  return mine;
}

std::vector<io::Window> Trainer::all_windows() const {
  io::Progress mine;
  mine.windows = {window()};
  std::vector<io::Window> windows;
  for (const std::string& text :
       dist::gather_texts(config::json_text(io::to_json(mine)), mesh_.control())) {
    const config::Json json = config::parse_json(text, "a rank's progress");
    windows.push_back(io::progress_of(json, "a rank's progress").windows.front());
  }
  return windows;
}

void Trainer::next_epoch() {
  ++progress_.epoch;
  progress_.sequences = 0;
}

void Trainer::train_epoch() {
  const data::Epoch batches =
      data::training_epoch(samples_.train, run_, run_, progress_.epoch, rank_, progress_.sequences);
  const int64_t steps = batches.steps();
  if (batches.first_step() == steps) return next_epoch();  // of other data, fewer than were done
  for (int64_t i = batches.first_step(); i < steps && !ended(); ++i) {
    try {
      train_step(batches.batches(i));
    } catch (const Interrupted& interrupted) {
      return stop_for_interrupt(interrupted.signal);  // the weights are those before the step
    }
    const double part = static_cast<double>(i + 1) / static_cast<double>(steps);
    const double before =
        static_cast<double>(progress_.epoch) + static_cast<double>(i) / static_cast<double>(steps);
    progress_.epochs = static_cast<double>(progress_.epoch) + part;
    progress_.evaluation_due |= crossed(before, progress_.epochs, run_.eval_every);
    progress_.sequences = batches.done_after(i);
    if (i + 1 == steps) next_epoch();
    after_step();
  }
}

void Trainer::train_step(const data::StepBatches& batches) {
  const Stopwatch clock;
  progress_.learning_rate = schedule_.at(progress_.steps);
  const TrainStep::Outcome outcome = step_.run(batches, progress_.learning_rate);
  ++progress_.steps;
  progress_.micro_batches = step_.micro_batches();
  progress_.tokens += batches.tokens;
  // The one wait for the device in a step: whether it was skipped is known before anything is
  // saved.
  const double norm = outcome.grad_norm.item<double>();
  step_seconds_ = clock.seconds();
  progress_.window_seconds += step_seconds_;
  double sum = 0;
  bad_micro_batch_ = 0;
  for (size_t i = 0; i < outcome.losses.size(); ++i) {
    const auto loss = outcome.losses[i].item<double>();
    sum += loss;
    if (std::isfinite(loss) || bad_micro_batch_ > 0) continue;
    bad_micro_batch_ = static_cast<int64_t>(i) * rank_.ranks + rank_.index + 1;
  }
  progress_.skipped_in_a_row = std::isfinite(norm) ? 0 : progress_.skipped_in_a_row + 1;
  if (progress_.skipped_in_a_row > 0) return;
  window_loss_ += sum;
  ++progress_.window_steps;
  window_router_.add(outcome.router);
  progress_.window_trained += batches.trained_tokens;
  progress_.window_tokens += batches.tokens;
  progress_.norm = norm;
}

void Trainer::skipped() {
  ++progress_.skipped_steps;
  const dist::Group& group = mesh_.control();
  const at::Tensor bad = at::zeros({group.size()}, at::kLong);
  bad.mutable_data_ptr<int64_t>()[group.index()] = bad_micro_batch_;
  group.all_reduce(bad)->wait();
  int64_t first = 0;
  for (int64_t rank = 0; rank < group.size(); ++rank) {
    const int64_t number = bad.const_data_ptr<int64_t>()[rank];
    if (number > 0 && (first == 0 || number < first)) first = number;
  }
  const std::string where =
      first > 0
          ? fmt::format("the loss of its micro-batch {} is not finite", first)
          : std::string("its losses are finite, the gradient is not or is too large for fp32");
  log_.skipped(
      {progress_.steps, progress_.epochs, "no update: " + where, first, progress_.skipped_steps});
  if (progress_.skipped_in_a_row < kMostSkipped) return;
  fail("steps {} to {} were skipped, {}: training ends, earlier checkpoints stand: {}",
       progress_.steps - kMostSkipped + 1, progress_.steps, "in the last one " + where, kWhatToDo);
}

void Trainer::after_step() {
  if (progress_.steps == 1 && run_.memory_report) {
    log_.line(memory_report(plan_, step_.phases(), machine_));
  }
  if (progress_.skipped_in_a_row > 0) skipped();
  if (progress_.steps % run_.logging_steps == 0 && progress_.window_trained > 0) report();
  progress_.save_due |= run_.save_steps > 0 && progress_.steps % run_.save_steps == 0;
  const Agreed agreed = this->agreed(step_seconds_);
  if (writer_.running() && !agreed.writing) advance_saving();
  progress_.save_due |=
      run_.save_every_minutes > 0 && agreed.unsaved >= 60 * run_.save_every_minutes;
  if (agreed.signal != 0) return stop_for_interrupt(agreed.signal);
  long_steps_ = agreed.seconds > kLongStep;
  settle();
}

void Trainer::settle() {
  if (progress_.evaluation_due) evaluate();
  if (interrupted_by_ != 0) return;  // its state is saved
  if (!progress_.save_due || progress_.skipped_in_a_row > 0) return;
  progress_.save_due = false;
  save_checkpoint("saved ");
}

Trainer::Agreed Trainer::agreed(double seconds) const {
  const dist::Group& group = mesh_.control();
  const at::Tensor all = at::zeros({group.size(), 4}, at::kDouble);
  auto* mine = all.mutable_data_ptr<double>() + 4 * group.index();
  mine[0] = interrupted(), mine[1] = seconds, mine[2] = since_save_.seconds();
  mine[3] = writer_.running() && !writer_.ready() ? 1 : 0;
  group.all_reduce(all)->wait();
  const at::Tensor most = all.amax({0});
  const auto* values = most.const_data_ptr<double>();
  return {static_cast<int>(values[0]), values[1], values[2], values[3] != 0};
}

void Trainer::between_layers(bool in_backward) {
  // An optimizer in backward has updated some weights already: the step is finished.
  if (!long_steps_ || (in_backward && run_.optimizer_in_backward)) return;
  pacing_.pace();
  if (const int signal = agreed().signal; signal != 0) throw Interrupted{signal};
}

double Trainer::checked_loss(const at::Tensor& sum, int64_t tokens) const {
  mesh_.group(config::Axis::kData).all_reduce(sum)->wait();
  const double loss = sum.item<double>() / static_cast<double>(tokens);
  if (std::isfinite(loss)) return loss;
  fail(
      "the loss is {} after step {} (learning rate {:.3g}): training ends, earlier checkpoints "
      "stand: {}",
      loss, progress_.steps, progress_.learning_rate, kWhatToDo);
}

void Trainer::report() {
  const at::TensorOptions options = at::TensorOptions(at::kDouble).device(machine_.device);
  double loss = checked_loss(at::full({}, window_loss_, options), progress_.window_trained);
  const auto router = window_router_.take(mesh_.group(config::Axis::kData));
  // As transformers' Trainer: a step adds the term of each of its micro-batches.
  if (router) {
    loss += router->term * router->micro_batches / static_cast<double>(progress_.window_steps);
  }
  log_.step({progress_.steps, progress_.epochs, loss, progress_.learning_rate,
             progress_.norm.value_or(0), progress_.skipped_steps, progress_.window_tokens,
             progress_.window_seconds, step_.phases().total().bytes(machine_.device), router});
  window_loss_ = progress_.window_seconds = 0;
  progress_.window_trained = progress_.window_tokens = progress_.window_steps = 0;
}

EvalReport Trainer::validation() {
  const data::Epoch epoch_batches =
      data::evaluation_epoch(samples_.validation, run_, run_.eval_batch_size, rank_);
  at::Tensor sum = at::zeros({}, at::TensorOptions(at::kFloat).device(machine_.device));
  int64_t tokens = 0;
  RouterMeter router(step_.executor().model().spec, machine_.device);
  for (int64_t i = 0; i < epoch_batches.steps(); ++i) {
    if (const int signal = agreed().signal; signal != 0) throw Interrupted{signal};
    const data::StepBatches batches = epoch_batches.batches(i);
    for (const data::PackedBatch& batch : batches.mine) {
      const engine::LossSum loss = step_.executor().forward(batch);
      sum.add_(loss.sum);
      router.add(loss.router);
    }
    tokens += batches.trained_tokens;
  }
  EvalReport found{.loss = checked_loss(sum, tokens), .tokens = tokens};
  found.router = router.take(mesh_.group(config::Axis::kData));
  if (found.router) found.loss += found.router->term;
  return found;
}

void Trainer::evaluate() {
  if (samples_.validation.empty()) {
    progress_.evaluation_due = false;
    return;
  }
  const Stopwatch clock;
  const bool before = progress_.steps == 0;
  EvalReport found;
  try {
    found = validation();
  } catch (const Interrupted& interrupted) {
    return stop_for_interrupt(interrupted.signal);  // it is still due
  }
  progress_.evaluation_due = false;
  found.step = progress_.steps;
  found.epoch = progress_.epochs;
  found.seconds = clock.seconds();
  found.best = !before && (!progress_.loss_best || found.loss < *progress_.loss_best);
  log_.evaluation(found);
  progress_.evaluated_at = progress_.steps;
  if (before) {
    progress_.loss_before = found.loss;
  } else {
    keep_if_best(found.loss);
  }
}

void Trainer::keep_if_best(double loss) {
  // As transformers' EarlyStoppingCallback: only an improvement by the threshold resets the
  // patience.
  const bool improved =
      !progress_.loss_best || loss < *progress_.loss_best - run_.early_stopping_threshold;
  progress_.evaluations_since_best = improved ? 0 : progress_.evaluations_since_best + 1;
  // What could not be saved is not the best that there is.
  if (!progress_.loss_best || loss < *progress_.loss_best) {
    if (save_best()) progress_.loss_best = loss;
  }
  if (run_.early_stopping_patience > 0 &&
      progress_.evaluations_since_best >= run_.early_stopping_patience) {
    log_.line(fmt::format("stopping early: no improvement of {} in {} evaluations",
                          run_.early_stopping_threshold, progress_.evaluations_since_best));
    progress_.stopped_early = true;
  }
}

void Trainer::stop_for_interrupt(int signal) {
  finish_saving();
  interrupted_by_ = signal;
  // Its weights are these: writing them again would only take the launcher's patience.
  if (saved_at_ == progress_.steps) {
    return log_.line("interrupted: the last checkpoint is of this step");
  }
  save_checkpoint("interrupted: saved ");
}

}  // namespace trireme::train
